"""Tests that the configuration files of other modules serve a login of the real sshd and ssh."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sshaft_demo.host import CODE, MODULE, DemoProvider, HostSshd, Terminal
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import AGENT, Place


@dataclass
class Host:
    """A host whose PAM line has the arguments of the Rust module. Its agent's own provider is away."""

    place: Place
    provider: DemoProvider
    sshd: HostSshd
    file: Path

    def write(self, data: dict[str, Any]) -> None:
        """Writes the file that the PAM line names. Root and the agent may read it."""
        self.file.write_text(json.dumps(data))
        self.place.give(self.file, None, 0o640, group=AGENT)

    def log_in(self, approved_by: str) -> Terminal:
        """Returns ssh in a terminal after the approval and Enter."""
        terminal = Terminal(self.sshd.command(self.place.person, "echo in"))
        said = terminal.wait_for("Press Enter")
        code = CODE.search(said)
        assert code, said + self.place.log("agent")
        self.provider.answer(code[0], user=approved_by)
        terminal.type("\n")
        return terminal

    def assert_open_to(self, user: str) -> None:
        assert self.log_in(user).end() == ("\r\nin\r\n", 0)

    def assert_closed_to(self, user: str) -> None:
        terminal = self.log_in(user)
        assert "This login was not accepted." in terminal.wait_for("Enter to go on")
        terminal.type("\n\x03")
        assert terminal.end()[1] != 0


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    with Place() as place:
        provider = DemoProvider(place, free_port())
        agent = Agent(place, provider.write_config(issuer="http://127.0.0.1:9", pending_per_source=10))
        file = place.directory / "pam_oauth2_device.json"
        arguments = f"config={file} logs=/var/log/pam_oauth2_device/log log_level=warn"
        socket = agent.runtime / "host" / "agent.sock"
        yield Host(place, provider, HostSshd(place, socket, free_port(), arguments=arguments), file)


def rust(host: Host) -> dict[str, Any]:
    return {
        "client_id": "hosts",
        "client_secret": "s3cret",
        "oauth_auth_url": f"{host.provider.issuer}/authorize",
        "oauth_device_url": f"{host.provider.issuer}/device_authorization",
        "oauth_token_url": f"{host.provider.issuer}/token",
        "oauth_token_introspect_url": f"{host.provider.issuer}/introspect",
        "scope": "openid profile",
    }


def cpp(host: Host, users: dict[str, list[str]]) -> dict[str, Any]:
    oauth = {
        "client": {"id": "hosts", "secret": "s3cret"},
        "scope": "openid profile",
        "device_endpoint": f"{host.provider.issuer}/device_authorization",
        "token_endpoint": f"{host.provider.issuer}/token",
        "userinfo_endpoint": f"{host.provider.issuer}/userinfo",
        "username_attribute": "preferred_username",
    }
    return {"oauth": oauth, "qr": {"error_correction_level": 0}, "users": users}


def test_file_of_the_rust_module_serves_a_login(host: Host) -> None:
    host.write(rust(host))
    host.assert_open_to(host.place.person)
    host.assert_closed_to("mallory")


def test_file_of_the_cpp_module_serves_a_login(host: Host) -> None:
    host.write(cpp(host, {host.place.person: [host.place.person], "mallory": ["root", "bob"]}))
    host.assert_open_to(host.place.person)
    host.assert_closed_to("mallory")


def test_account_stays_with_its_identity_whatever_file_is_used(host: Host) -> None:
    host.write(rust(host))
    host.assert_open_to(host.place.person)
    host.write(cpp(host, {"mallory": [host.place.person]}))
    host.assert_closed_to("mallory")
    assert "the account belongs to another identity" in host.place.log("agent")


def test_file_that_cannot_be_used_lets_nobody_in_and_is_named_in_the_log(host: Host) -> None:
    host.write(rust(host) | {"massages": {}})
    terminal = Terminal(host.sshd.command(host.place.person, "echo in"))
    said = terminal.wait_for("Enter to go on")
    assert "cannot be used now" in said
    assert str(host.file) not in said
    terminal.type("\n\x03")
    assert terminal.end()[1] != 0
    assert f"{host.file}: unknown: massages" in host.place.log("agent")
    assert "s3cret" not in host.place.log("agent") + host.place.log("sshd")
