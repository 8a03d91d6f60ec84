"""Tests host login with the real sshd, ssh in a terminal, PAM and agent, at a throwaway provider."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sshaft_demo.host import CODE, MODULE, DemoProvider, HostSshd, Terminal
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import Place

PRESS_ENTER = "Press Enter"
REFUSED = "This login was not accepted."


@dataclass
class Host:
    """A host with host login for the account `place.person`. The provider also knows mallory."""

    place: Place
    provider: DemoProvider
    agent: Agent
    sshd: HostSshd

    def ssh(self, *words: str, user: str = "") -> Terminal:
        return Terminal(self.sshd.command(user or self.place.person, *words))


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    with Place() as place:
        provider = DemoProvider(place, free_port())
        agent = Agent(place, provider.write_config(pending_per_user=10, pending_per_source=10))
        yield Host(place, provider, agent, HostSshd(place, agent.runtime / "host" / "agent.sock", free_port()))


def code_of(terminal: Terminal) -> str:
    said = terminal.wait_for(PRESS_ENTER)
    found = CODE.search(said)
    assert found, said
    return found[0]


def test_person_who_approves_gets_a_shell(host: Host) -> None:
    terminal = host.ssh("id -u")
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    said, status = terminal.end()
    assert status == 0
    uid = 59901 if host.place.accounts.separate else os.geteuid()
    assert said.split() == [str(uid)]


@pytest.mark.parametrize(("locale", "has_blocks"), [("C.UTF-8", True), ("C", False)])
def test_address_and_code_are_readable_in_every_locale(host: Host, locale: str, *, has_blocks: bool) -> None:
    """Without UTF-8, ssh shows the QR code as escapes. The address and the code stand before it, in ASCII."""
    terminal = Terminal(host.sshd.command(host.place.person, "true"), locale)
    lines = terminal.wait_for(PRESS_ENTER).splitlines()
    assert any(line.startswith(f"    {host.provider.issuer}/device?user_code=") for line in lines)
    assert any(CODE.fullmatch(line.strip()) for line in lines)
    assert any(line.startswith("\u2588") for line in lines) is has_blocks
    assert "If you did not start this ssh, close that page." in lines
    terminal.type("\x03")
    assert terminal.end()[1] != 0


def test_enter_before_the_approval_asks_again(host: Host) -> None:
    terminal = host.ssh("echo in")
    code = code_of(terminal)
    terminal.type("\n")
    assert "not approved yet" in terminal.wait_for("approved the login: ")
    host.provider.answer(code)
    terminal.type("\n")
    assert terminal.end() == ("\r\nin\r\n", 0)


def test_approval_of_another_person_opens_nothing(host: Host) -> None:
    terminal = host.ssh("echo in")
    host.provider.answer(code_of(terminal), user="mallory")
    terminal.type("\n")
    said = terminal.wait_for("end this login")
    assert REFUSED in said
    assert "mallory" not in said
    terminal.type("\n\x03")
    said, status = terminal.end()
    assert status != 0
    assert "in\r\n" not in said


def test_name_that_nobody_has_looks_like_any_other(host: Host) -> None:
    terminal = host.ssh("echo in", user="mallory")
    host.provider.answer(code_of(terminal), user="mallory")
    terminal.type("\n")
    assert REFUSED in terminal.wait_for("end this login")
    terminal.type("\n\x03")
    assert terminal.end()[1] != 0


def test_denial_in_the_browser_is_told(host: Host) -> None:
    terminal = host.ssh("echo in")
    host.provider.answer(code_of(terminal), "deny")
    terminal.type("\n")
    assert "denied in the browser" in terminal.wait_for("end this login")
    terminal.type("\n\x03")
    assert terminal.end()[1] != 0


def test_agent_that_dies_during_a_login_lets_nobody_in(host: Host) -> None:
    terminal = host.ssh("echo in")
    host.provider.answer(code_of(terminal))
    host.place.stop(host.agent.process, 0)
    try:
        terminal.type("\n\x03")
        said, status = terminal.end()
        assert status != 0
        assert "in\r\n" not in said
        refused = subprocess.run(
            host.sshd.command(host.place.person, "echo in"), stdin=subprocess.DEVNULL, capture_output=True, timeout=30,
            check=False,
        )  # fmt: skip
        assert refused.returncode == 255
    finally:
        host.agent.process = host.agent.start()


def test_frozen_agent_does_not_hold_a_login_for_long(host: Host) -> None:
    os.killpg(host.agent.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        refused = subprocess.run(
            host.sshd.command(host.place.person, "true"), stdin=subprocess.DEVNULL,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert refused.returncode == 255
        assert time.monotonic() - began < 45
    finally:
        os.killpg(host.agent.process.pid, signal.SIGCONT)


def test_log_of_a_login_names_the_person_and_no_secret(host: Host) -> None:
    terminal = host.ssh("true")
    code = code_of(terminal)
    host.provider.answer(code)
    terminal.type("typed by mistake\n")
    assert terminal.end()[1] == 0
    log = host.place.log("agent") + host.place.log("sshd")
    assert f'"subject": "id-of-{host.place.person}"' in log
    assert "typed by mistake" not in log
    assert code not in log
    assert "device_code" not in log


def test_socket_of_the_module_is_closed_to_other_accounts(host: Host) -> None:
    if not host.place.accounts.separate:
        pytest.skip("needs root: an ordinary user has one account")
    path: Path = host.agent.runtime / "host" / "agent.sock"
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = subprocess.run(
        ["setpriv", "--reuid=64803", "--regid=64803", "--clear-groups", *host.place.python(), "-c", program, path],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "PermissionError" in done.stderr
