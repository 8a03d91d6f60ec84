"""Tests that mccli and `sshaft ssh` log in with tokens of the real oidc-agent, at the real Glewlwyd."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from e2e.hosts import NO_BROWSER, Host, host_in
from providers import glewlwyd, oidc_agent
from providers.glewlwyd import CLIENT, SECRET
from providers.mccli import Mccli
from providers.oidc_agent import OidcAgent

from sshaft_demo.parts import HostApi
from sshaft_demo.place import CHECKOUT, Place

ACCOUNT = "glewlwyd"
pytestmark = pytest.mark.timeout(600)  # the first run installs mccli
SETTINGS = "PubkeyAuthentication yes\nAllowStreamLocalForwarding no\n"
"""mccli would forward the socket of the agent, and leave it on the host."""


@dataclass
class Site:
    """`wishes` name the account of the agent, and its issuer."""

    host: Host
    agent: OidcAgent
    service: str
    wishes: dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("glewlwyd")
    with (
        tempfile.TemporaryDirectory() as home,
        oidc_agent.running(Path(home)) as agent,
        glewlwyd.running(folder) as server,
        Place() as place,
    ):
        issuer = server.set_up_provider(place.person, CLIENT, SECRET)
        agent.add(ACCOUNT, issuer, CLIENT, SECRET, server.tokens(place.person, CLIENT, SECRET)["refresh_token"])
        provider = {"issuer": issuer, "audience": "openid", "claim": "username", "allow": {"everyone": True}}
        with host_in(place, SETTINGS, **NO_BROWSER, tokens=[provider]) as host:
            wishes = {"account": ("--oa-account", ACCOUNT), "issuer": ("--iss", issuer)}
            yield Site(host, agent, HostApi(place, host.agent.runtime).url, wishes)


@pytest.mark.parametrize("wish", ["account", "issuer"])
def test_mccli_logs_in_with_a_token_of_oidc_agent(site: Site, tmp_path: Path, wish: str) -> None:
    options = site.host.sshd.command("")[1:-1]
    words = ("ssh", *site.wishes[wish], *options, "127.0.0.1", "echo in")
    done = Mccli(tmp_path, site.service).run(*words, **site.agent.variables)
    assert "in" in done.stdout.split(), done.stdout + done.stderr + site.host.place.log("agent")


@pytest.mark.skipif(find_spec("liboidcagent") is None, reason="needs liboidcagent: pip install 'sshaft[oidc-agent]'")
@pytest.mark.parametrize("wish", ["account", "issuer", "only issuer"])
def test_sshaft_ssh_logs_in_with_a_token_of_oidc_agent(site: Site, tmp_path: Path, wish: str) -> None:
    options = site.host.sshd.command("")[1:-1]
    own = [sys.executable, "-P", "-m", "sshaft", "ssh", "--endpoint", site.service, *site.wishes.get(wish, ())]
    command = ["setsid", "-w", *own, *options, "127.0.0.1", "echo in"]
    environment = {"PATH": os.defpath, "PYTHONPATH": str(CHECKOUT), "HOME": str(tmp_path), **site.agent.variables}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert (done.stdout, done.returncode) == ("in\n", 0), done.stderr
