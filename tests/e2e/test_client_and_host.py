"""Tests `sshaft ssh` and `sshaft info` with the real agent, `sshaft host-api`, sshd and ssh."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.hosts import AUDIENCE, Host, host_in
from e2e.test_client_ssh import run

from sshaft_demo.host import DemoProvider
from sshaft_demo.parts import HostApi
from sshaft_demo.place import Place

SETTINGS = "PubkeyAuthentication yes\n"
LONG_AUDIENCE = AUDIENCE + "/" + "x" * 990
ONLY_TOKENS = dict.fromkeys(("issuer", "client_id", "allow", "pending_per_user", "pending_per_source", "enter"))


def tokens(provider: DemoProvider) -> list[dict[str, Any]]:
    advertise = {"scopes": ["openid"], "audience": AUDIENCE}
    audience = [AUDIENCE, LONG_AUDIENCE]
    one = {"issuer": provider.issuer, "audience": audience, "allow": {"everyone": True}, "advertise": advertise}
    return [one]


@dataclass
class Site:
    host: Host
    api: HostApi
    file: Path

    def sshaft(self, program: str, *words: str, token: str) -> "subprocess.CompletedProcess[str]":
        self.file.write_text(token)
        own = ["--token-file", str(self.file), "--endpoint", self.api.url]
        return run([sys.executable, "-P", "-m", "sshaft", program, *own, *words])

    def ssh(self, *words: str, token: str) -> "subprocess.CompletedProcess[str]":
        return self.sshaft("ssh", *self.host.sshd.command("")[1:-1], "127.0.0.1", *words, token=token)


@pytest.fixture(scope="module", params=["tokens", "tokens and browser"])
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    config = ONLY_TOKENS if request.param == "tokens" else {}
    with Place() as place, host_in(place, SETTINGS, **config, tokens=tokens) as host:
        yield Site(host, HostApi(place, host.agent.runtime), tmp_path_factory.mktemp("person") / "token")


def test_person_with_a_token_runs_a_command(site: Site) -> None:
    done = site.ssh("echo in; exit 5", token=site.host.token())
    assert (done.stdout, done.returncode) == ("in\n", 5), done.stderr


def test_long_token_opens_the_account(site: Site) -> None:
    token = site.host.token(audience=LONG_AUDIENCE)
    assert len(token) > 1024
    for _ in range(2):
        done = site.ssh("echo in", token=token)
        assert done.stdout == "in\n", done.stderr


@pytest.mark.parametrize("name", ["", "mallory"])
def test_token_of_nobody_here_is_refused(site: Site, name: str) -> None:
    done = site.ssh("echo in", token=site.host.token(name) if name else "opaque")
    assert (done.stdout, done.returncode) == ("", 255)
    assert done.stderr.startswith(f"sshaft: {site.api.url}: refuses the token (40")
    assert done.stderr.count("\n") == 1


def test_person_reads_what_the_host_says(site: Site) -> None:
    done = site.sshaft("info", "127.0.0.1", token=site.host.token())
    assert done.returncode == 0, done.stderr
    assert AUDIENCE in done.stdout
    assert "All users from this OP are authorised." in done.stdout
