"""Tests logins that a person approves on a page: the real identity service, agent, PAM, sshd and ssh."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.approvals import ApprovalHost, approval_host_in, wait_for_state
from e2e.hosts import code_of

from sshaft_demo.approval import ASKS, Visit
from sshaft_demo.host import Terminal
from sshaft_demo.place import Place

REFUSED = "This login was not accepted."


@pytest.fixture(scope="module")
def host() -> Iterator[ApprovalHost]:
    with Place() as place, approval_host_in(place, "Subsystem sftp internal-sftp\n") as host:
        yield host


def events(host: ApprovalHost, name: str) -> list[dict[str, str]]:
    lines = (json.loads(line) for line in host.place.log("agent").splitlines() if line.startswith("{"))
    return [each for each in lines if each["event"] == name]


def ends_without_a_shell(terminal: Terminal) -> str:
    terminal.type("\n\x03")
    said, status = terminal.end()
    assert status != 0
    assert "in\r\n" not in said
    return said


def test_digits_of_the_page_open_a_shell_and_the_page_says_so(host: ApprovalHost) -> None:
    terminal, visit = host.begin("id -u")
    assert visit.state == "sign_in"
    digits = host.approve(visit)
    terminal.type(f"{digits[:3]} {digits[3:]}\n")
    said, status = terminal.end()
    assert status == 0, said
    uid = 59901 if host.place.accounts.separate else os.geteuid()
    assert said.split()[-1] == str(uid)
    wait_for_state(visit, "passed")
    accepted = events(host, "host_login.accepted")[-1]
    assert accepted["by"] == "approval"
    assert digits not in host.place.log("agent") + host.place.log("sshd")
    opened = events(host, "host_session.opened")[-1]
    assert opened["approval"] == events(host, "host_login.waits")[-1]["approval"]


def test_account_belongs_to_the_person_of_the_identity_service(host: ApprovalHost) -> None:
    accounts = json.loads(host.run("accounts", "list", "--json"))
    own = next(each for each in accounts if each["account"] == host.place.person)
    assert own["issuer"] == host.approver.identity.url


def test_wrong_digits_have_three_tries(host: ApprovalHost) -> None:
    terminal, visit = host.begin("echo in")
    digits = host.approve(visit)
    wrong = f"{(int(digits) + 1) % 10**6:06}"
    terminal.type(f"{wrong}\n")
    assert "2 tries are left." in terminal.wait_for(ASKS)
    terminal.type(f"{wrong}\n")
    assert "One try is left." in terminal.wait_for(ASKS)
    terminal.type(f"{wrong}\n")
    assert "The digits were wrong too often." in terminal.wait_for("Enter to go on")
    ends_without_a_shell(terminal)
    assert visit.look().state == "tried_out"


def test_digits_of_another_approval_open_nothing(host: ApprovalHost) -> None:
    first, first_page = host.begin("echo in")
    second, second_page = host.begin("echo in")
    digits = host.approve(first_page)
    assert host.approve(second_page) != digits
    second.type(f"{digits}\n")
    assert "These are not the digits of the page." in second.wait_for(ASKS)
    ends_without_a_shell(second)
    first.type(f"{digits}\n")
    assert first.end()[1] == 0


@pytest.mark.parametrize(("answer", "state"), [("deny", "denied"), ("report", "reported")])
def test_denial_on_the_page_ends_the_login_at_once(host: ApprovalHost, answer: str, state: str) -> None:
    before = len(events(host, "host_login.refused"))
    terminal, visit = host.begin("echo in")
    assert visit.sign_in(host.place.person).press(answer).state == state
    end = time.monotonic() + 10
    while len(events(host, "host_login.refused")) == before and time.monotonic() < end:
        time.sleep(0.1)
    assert "page" in events(host, "host_login.refused")[-1]["reason"] or answer == "report"
    assert host.agent.status()["host_logins_waiting"] == 0
    terminal.type("\n")
    assert "denied in the browser" in terminal.wait_for("Reference")
    ends_without_a_shell(terminal)


def test_denial_after_the_approval_counts(host: ApprovalHost) -> None:
    terminal, visit = host.begin("echo in")
    digits = host.approve(visit)
    visit.press("deny")
    terminal.type(f"{digits}\n")
    assert "denied in the browser" in terminal.wait_for("Reference")
    ends_without_a_shell(terminal)


def test_another_person_sees_no_digits_and_approves_nothing(host: ApprovalHost) -> None:
    terminal, visit = host.begin("echo in")
    assert visit.sign_in("mallory").state == "other"
    assert visit.press("approve").state == "other"
    assert not visit.digits
    ends_without_a_shell(terminal)


def test_relayed_address_gives_the_attacker_nothing_without_the_digits(host: ApprovalHost) -> None:
    """The attacker begins ssh to the victim's account, and the victim approves on the true page."""
    terminal, visit = host.begin("echo in")
    attacker = Visit(f"    {visit.address}\n")
    host.approve(visit)
    attacker.look()
    assert attacker.state == "sign_in_again"
    assert not attacker.digits
    assert attacker.sign_in("mallory").state == "other"
    assert not attacker.digits
    for guess in ("000000", "123456"):
        terminal.type(f"{guess}\n")
        assert "These are not the digits" in terminal.wait_for(ASKS)
    terminal.type("999999\n")
    assert "wrong too often" in terminal.wait_for("Enter to go on")
    ends_without_a_shell(terminal)


def test_digits_count_once(host: ApprovalHost) -> None:
    terminal, visit = host.begin("echo in")
    digits = host.approve(visit)
    terminal.type(f"{digits}\n")
    assert terminal.end()[1] == 0
    replayed, _page = host.begin("echo in")
    replayed.type(f"{digits}\n")
    assert "Approve the login on this page." in replayed.wait_for(ASKS)
    ends_without_a_shell(replayed)


def test_scp_asks_for_the_digits_and_copies(host: ApprovalHost, tmp_path: Path) -> None:
    there = tmp_path / "there"
    source = host.place.directory / "host-page.txt"
    source.write_text("copied\n")
    ssh = host.sshd.command(host.place.person)
    options = [word for word in ssh[1:-1] if word not in ("-p", str(host.sshd.port))]
    terminal = Terminal(["scp", "-P", str(host.sshd.port), *options, f"{ssh[-1]}:{source}", str(there)])
    terminal.type(f"{host.approve(Visit(terminal.wait_for(ASKS)))}\n")
    said, status = terminal.end()
    assert status == 0, said
    assert there.read_text() == "copied\n"


def test_connection_that_is_shared_asks_once(host: ApprovalHost, tmp_path: Path) -> None:
    shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={tmp_path}/s", "-o", "ControlPersist=60"]
    command = host.sshd.command(host.place.person, "echo in")
    command[1:1] = shared
    terminal = Terminal(command)
    terminal.type(f"{host.approve(Visit(terminal.wait_for(ASKS)))}\n")
    terminal.wait_for("in\r\n")
    again = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert (again.returncode, again.stdout) == (0, "in\n")
    subprocess.run([*command[:-1], "-O", "exit"], capture_output=True, timeout=30, check=False)
    terminal.kill()


def test_page_hears_that_ssh_has_gone(host: ApprovalHost) -> None:
    terminal, visit = host.begin("echo in")
    host.approve(visit)
    terminal.kill()
    wait_for_state(visit, "ended")
    assert not visit.digits


def test_name_that_nobody_has_looks_like_any_other(host: ApprovalHost) -> None:
    terminal, visit = host.begin("echo in", user="mallory")
    terminal.type(f"{host.approve(visit, 'mallory')}\n")
    assert REFUSED in terminal.wait_for("Enter to go on")
    ends_without_a_shell(terminal)
    unknown, page = host.begin("echo in", user="nobody-at-all")
    assert page.sign_in("mallory").state == "other"
    ends_without_a_shell(unknown)


def test_ssh_without_a_terminal_ends_soon(host: ApprovalHost) -> None:
    began = time.monotonic()
    refused = subprocess.run(
        host.sshd.command(host.place.person, "echo in"), stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        check=False, start_new_session=True,
    )  # fmt: skip
    assert refused.returncode == 255
    assert time.monotonic() - began < 30


def test_service_that_restarts_loses_no_login(host: ApprovalHost) -> None:
    terminal, visit = host.begin("echo in")
    host.approver.restart()
    digits = host.approve(visit)
    host.approver.restart()
    terminal.type(f"{digits}\n")
    assert terminal.end()[1] == 0
    wait_for_state(visit, "passed")


def test_agent_that_stops_tells_the_page(host: ApprovalHost) -> None:
    terminal, visit = host.begin("echo in")
    digits = host.approve(visit)
    try:
        assert host.place.stop(host.agent.process) == 0
        terminal.type(f"{digits}\n")
        assert "Run ssh again." in terminal.wait_for("ssh again.")
        ends_without_a_shell(terminal)
        wait_for_state(visit, "ended")
    finally:
        host.agent.process = host.agent.start()


def test_service_that_is_down_lets_nobody_in(host: ApprovalHost) -> None:
    host.place.stop(host.approver.identity.process)
    try:
        terminal = host.ssh("echo in")
        assert "cannot be used now" in terminal.wait_for("Enter to go on")
        ends_without_a_shell(terminal)
    finally:
        host.approver.identity.process = host.approver.identity.start()


@pytest.fixture(scope="module")
def lenient() -> Iterator[ApprovalHost]:
    """Yields a host where the device grant follows while the identity service is away."""
    linked = {"identity": "linked"}
    with Place() as place, approval_host_in(
        place, device=True, approval=linked, enter="always", when_away="next"
    ) as host:  # fmt: skip
        yield host


def test_next_method_opens_the_same_account_while_the_service_is_away(lenient: ApprovalHost) -> None:
    terminal, visit = lenient.begin("echo in")
    terminal.type(f"{lenient.approve(visit)}\n")
    assert terminal.end()[1] == 0
    process = lenient.approver.identity.process
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        terminal = lenient.ssh("echo in")
        lenient.provider.answer(code_of(terminal))
        terminal.type("\n")
        assert terminal.end() == ("\r\nin\r\n", 0)
    finally:
        os.killpg(process.pid, signal.SIGCONT)
    away, accepted = events(lenient, "host_login.method_away")[-1], events(lenient, "host_login.accepted")[-1]
    assert (away["method"], away["next"]) == ("approval", "device")
    assert (accepted["by"], accepted["instead_of"]) == ("browser", "approval")
    terminal, visit = lenient.begin("echo in")
    terminal.type(f"{lenient.approve(visit)}\n")
    assert terminal.end()[1] == 0
    assert events(lenient, "host_login.accepted")[-1]["by"] == "approval"
