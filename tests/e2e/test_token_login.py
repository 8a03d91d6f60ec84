"""Tests the login with an access token: the real sshd, ssh in a terminal, PAM and agent, at a throwaway provider."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from e2e.hosts import AUDIENCE, NO_BROWSER, Host, code_of, host_in, tokens

from sshaft_demo.host import HostSshd, Terminal
from sshaft_demo.parts import free_port
from sshaft_demo.place import Place

PROMPT = "Access Token:"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Place() as place, token_host(place) as host:
        yield host


@contextmanager
def token_host(place: Place, tokens: Any = tokens) -> Iterator[Host]:
    """Yields a host that takes tokens and keys. ssh would ask on and on if no method were left after a refusal."""
    with host_in(place, "PubkeyAuthentication yes\n", **NO_BROWSER, tokens=tokens) as host:
        yield host


def test_person_with_a_token_gets_a_shell(host: Host) -> None:
    terminal = host.ssh("echo in")
    said = terminal.wait_for(PROMPT)
    assert said.strip() == f"({host.place.person}@127.0.0.1) {PROMPT}"
    terminal.type(host.token() + "\n")
    assert terminal.end() == ("\r\nin\r\n", 0)


def test_token_of_another_person_opens_nothing(host: Host) -> None:
    """sshd shows why, and does not ask again: a program would wait in vain."""
    terminal = host.ssh("echo in")
    terminal.wait_for(PROMPT)
    terminal.type(host.token("mallory") + "\n")
    said, status = terminal.end()
    assert "This login was not accepted." in said
    assert status == 255
    assert PROMPT not in said
    assert "in\r\n" not in said


def test_token_that_ssh_cuts_is_explained(host: Host) -> None:
    terminal = host.ssh("echo in")
    terminal.wait_for(PROMPT)
    terminal.type(host.token(audience=AUDIENCE + "/" + "x" * 1000) + "\n")
    said, status = terminal.end()
    assert "Your access token is too long for ssh" in said
    assert status == 255


def test_token_in_parts_gets_a_shell(host: Host) -> None:
    terminal, token = host.ssh("echo in"), host.token()
    for part in (token[:300] + "\\", token[300:600] + "\\", token[600:]):
        assert PROMPT in terminal.wait_for(PROMPT)
        terminal.type(part + "\n")
    assert terminal.end() == ("\r\nin\r\n", 0)


def test_token_as_the_password_of_a_client_gets_a_shell(host: Host) -> None:
    """Some clients know no other way than the method `password`."""
    socket = host.agent.runtime / "host" / "agent.sock"
    sshd = HostSshd(host.place, socket, free_port(), "PasswordAuthentication yes\nPubkeyAuthentication yes\n")
    command = sshd.command(host.place.person, "echo in")
    terminal = Terminal([command[0], "-o", "PreferredAuthentications=password", *command[1:]])
    terminal.wait_for("password: ")
    terminal.type(host.token() + "\n")
    assert terminal.end() == ("\r\nin\r\n", 0)


def test_one_prompt_takes_a_token_or_enter() -> None:
    with Place() as place, host_in(place, tokens=tokens) as host:
        terminal = host.ssh("echo in")
        assert "or paste an" in terminal.wait_for(PROMPT)
        terminal.type("\n")
        host.provider.answer(code_of(terminal))
        terminal.type("\n")
        assert terminal.end() == ("\r\nin\r\n", 0)
        terminal = host.ssh("echo in")
        terminal.wait_for(PROMPT)
        terminal.type(host.token() + "\n")
        assert terminal.end() == ("\r\nin\r\n", 0)
