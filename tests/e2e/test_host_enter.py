"""Tests `ask_first` and `enter` with the real sshd and ssh: who has to press Enter, and when."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.hosts import Host, code_of, host_in

from sshaft import openssh_version
from sshaft_demo.host import CODE, Terminal
from sshaft_demo.parts import wait_for
from sshaft_demo.place import SSHD, Place

FIRST = "Press Enter to log in with your browser: "


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Place() as place, host_in(place, "PasswordAuthentication yes\n", ask_first=True) as host:
        yield host


def waits(host: Host) -> int:
    """Returns how many logins have got a code from the provider."""
    return host.place.log("agent").count("host_login.waits")


def test_person_presses_enter_and_then_approves(host: Host) -> None:
    before = waits(host)
    terminal = host.ssh("echo in")
    terminal.wait_for(FIRST)
    assert waits(host) == before
    terminal.type("\n")
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    assert terminal.end() == ("\r\nin\r\n", 0)


def test_guessed_password_never_reaches_the_provider(host: Host) -> None:
    """sshd has no person to show a prompt to, so the method password ends at the first prompt."""
    before = waits(host)
    command = host.sshd.command(host.place.person, "echo in")
    command[1:1] = ["-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1"]
    terminal = Terminal(command)
    terminal.wait_for("password: ")
    terminal.type("hunter2\n")
    said, status = terminal.end()
    assert status != 0
    assert "Permission denied" in said
    assert waits(host) == before
    assert "hunter2" not in host.place.log("agent") + host.place.log("sshd")


@pytest.fixture(scope="module")
def modern_host() -> Iterator[Host]:
    """Yields a host whose sshd shows text at once."""
    if openssh_version.installed(Path(SSHD)) < (10, 3):
        pytest.skip("needs OpenSSH 10.3")
    with Place() as place, host_in(place, enter="auto", pending_per_source=1) as host:
        yield host


def shown_code(terminal: Terminal) -> str:
    """Returns the code that ssh shows without a prompt."""
    said = terminal.wait_for("close that page.")
    code = CODE.search(said)
    assert code, said
    assert "Enter" not in said
    return code[0]


def test_no_enter_is_needed_where_sshd_shows_text_at_once(modern_host: Host) -> None:
    terminal = modern_host.ssh("echo in")
    modern_host.provider.answer(shown_code(terminal))
    said, status = terminal.end()
    assert (said.strip(), status) == ("in", 0)


def test_person_who_leaves_without_a_prompt_may_begin_anew(modern_host: Host) -> None:
    """sshd does not notice it by itself: the agent's probes show it."""
    terminal = modern_host.ssh("echo in")
    shown_code(terminal)
    terminal.kill()
    wait_for(lambda: not modern_host.agent.status()["host_logins_waiting"], modern_host.agent.process, str, "the probe")
    terminal = modern_host.ssh("echo in")
    modern_host.provider.answer(shown_code(terminal))
    assert terminal.end()[1] == 0
