"""Tests host login as the second factor, after a key (`AuthenticationMethods publickey,keyboard-interactive:pam`)."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.hosts import Host, code_of, host_in

from sshaft import public_key
from sshaft_demo.host import HostSshd
from sshaft_demo.parts import free_port
from sshaft_demo.place import Place


@pytest.fixture(scope="module")
def key(place: Place) -> Path:
    return place.generate_key("host-key")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.fixture(scope="module")
def host(place: Place, key: Path) -> Iterator[Host]:
    """Yields a host whose agent wants a key before each login."""
    settings = f"PubkeyAuthentication yes\nAuthorizedKeysFile {key}.pub\n"
    methods = "AuthenticationMethods publickey,keyboard-interactive:pam\n"
    with host_in(place, settings + methods, allow={"everyone": True, "publickey": True}) as host:
        yield host


def test_approval_after_a_key_opens_a_shell_and_the_log_names_the_key(host: Host, key: Path) -> None:
    terminal = host.ssh("echo in", key=key)
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    assert terminal.end() == ("\r\nin\r\n", 0)
    fingerprint = public_key.parse(key.with_suffix(".pub").read_text()).fingerprint
    accepted = [line for line in host.place.log("agent").splitlines() if "host_login.accepted" in line]
    assert f'"fingerprint": "{fingerprint}"' in accepted[-1]
    assert '"key_type": "ssh-ed25519"' in accepted[-1]


def test_key_alone_opens_nothing(host: Host, key: Path) -> None:
    terminal = host.ssh("echo in", key=key)
    code_of(terminal)
    terminal.type("\x03")
    said, status = terminal.end()
    assert status != 0
    assert "in\r\n" not in said


def test_login_without_a_key_is_refused_where_sshd_forgets_to_ask_for_one(host: Host) -> None:
    lax = HostSshd(host.place, host.sshd.socket, free_port(), "")
    terminal = dataclasses.replace(host, sshd=lax).ssh("echo in")
    assert "This login was not accepted." in terminal.wait_for("Enter to go on")
    terminal.type("\n\x03")
    assert terminal.end()[1] != 0
