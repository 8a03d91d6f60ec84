"""Tests host login with the real sshd, ssh in a terminal, PAM and agent, at a throwaway provider."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.hosts import PRESS_ENTER, Host, code_of, host_in

from sshaft_demo.host import CODE
from sshaft_demo.place import Place

REFUSED = "This login was not accepted."


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Place() as place, host_in(place) as host:
        yield host


def test_person_who_approves_gets_a_shell(host: Host) -> None:
    terminal = host.ssh("id -u")
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    said, status = terminal.end()
    assert status == 0
    uid = 59901 if host.place.accounts.separate else os.geteuid()
    assert said.split() == [str(uid)]


def test_prompt_has_address_code_and_qr_code(host: Host) -> None:
    terminal = host.ssh("true")
    lines = terminal.wait_for(PRESS_ENTER).splitlines()
    assert any(line.startswith(f"    {host.provider.issuer}/device?user_code=") for line in lines)
    assert any(CODE.fullmatch(line.strip()) for line in lines)
    assert any(line.startswith("\u2588") for line in lines)
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
    said = terminal.wait_for("Enter to go on")
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
    assert REFUSED in terminal.wait_for("Enter to go on")
    terminal.type("\n\x03")
    assert terminal.end()[1] != 0


def test_denial_in_the_browser_is_told(host: Host) -> None:
    terminal = host.ssh("echo in")
    host.provider.answer(code_of(terminal), "deny")
    terminal.type("\n")
    assert "denied in the browser" in terminal.wait_for("Enter to go on")
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


def test_agent_that_stops_tells_the_person_to_run_ssh_again(host: Host) -> None:
    terminal = host.ssh("echo in")
    host.provider.answer(code_of(terminal))
    try:
        assert host.place.stop(host.agent.process) == 0
        terminal.type("\n")
        assert "The login service of this host restarts. Run ssh again." in terminal.wait_for("ssh again.")
        said, status = terminal.end()
        assert status != 0
        assert "in\r\n" not in said
    finally:
        host.agent.process = host.agent.start()


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
