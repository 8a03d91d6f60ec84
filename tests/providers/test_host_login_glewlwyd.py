"""Tests host login at the real Glewlwyd of Debian, with the real sshd, ssh and PAM."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from providers import glewlwyd
from providers.glewlwyd import Glewlwyd

from sshaft_demo.host import MODULE, HostSshd, Terminal
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import AGENT, Place

CLIENT, SECRET = "ssh-hosts", "s3cret-of-the-hosts"


@dataclass
class Host:
    place: Place
    server: Glewlwyd
    sshd: HostSshd


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    with glewlwyd.running(tmp_path_factory.mktemp("glewlwyd")) as server, Place() as place:
        issuer = server.set_up_provider(place.person, CLIENT, SECRET)
        config = configure(place, issuer)
        agent = Agent(place, config)
        yield Host(place, server, HostSshd(place, agent.runtime / "host" / "agent.sock", free_port()))


def configure(place: Place, issuer: str) -> Path:
    """Writes the files that the agent alone can read."""
    secret, config = place.directory / "client-secret", place.directory / "config.json"
    secret.write_text(SECRET)
    host_login = {
        "issuer": issuer, "client_id": CLIENT, "client_secret_file": str(secret), "scopes": ["openid"],
        "claim": "username", "allow": {"everyone": True}, "pending_per_user": 3,
        "state_directory": str(place.folder("state", AGENT, 0o700)),
    }  # fmt: skip
    config.write_text(json.dumps({"host_login": host_login}))
    for path in (secret, config):
        path.chmod(0o600)
        if place.accounts.separate:
            os.chown(path, place.accounts.uids[AGENT], place.accounts.uids[AGENT])
    return config


def test_person_who_approves_at_glewlwyd_gets_a_shell(host: Host) -> None:
    terminal = Terminal(host.sshd.command(host.place.person, "echo in"))
    said = terminal.wait_for("approved the login: ")
    code = re.search(r"^    ([A-Z0-9-]+)\r?$", said, re.MULTILINE)
    assert code, said + host.place.log("agent")
    host.server.approve(host.place.person, CLIENT, code[1])
    terminal.type("\n")
    said, status = terminal.end()
    assert (said.split(), status) == (["in"], 0), said + host.place.log("agent")


def test_code_that_nobody_approves_opens_nothing(host: Host) -> None:
    terminal = Terminal(host.sshd.command(host.place.person, "echo in"))
    terminal.wait_for("approved the login: ")
    terminal.type("\n")
    assert "not approved yet" in terminal.wait_for("approved the login: ")
    terminal.type("\x03")
    assert terminal.end()[1] != 0
