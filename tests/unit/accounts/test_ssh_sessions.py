"""Tests which processes sshaft-accounts counts to an ssh session, on processes that are made up."""

from pathlib import Path

import pytest

from sshaft_accounts import ssh_sessions
from sshaft_accounts.requests import Leader
from sshaft_accounts.ssh_sessions import Process

ALICE, BOB = 1000, 1001
SCOPE = "/user.slice/user-1000.slice/session-3.scope"


def process(pid: int, parent: int, *uids: int, name: str = "sshd", leads: bool = False, **logins: int) -> Process:
    return Process(pid, name, parent, leads, pid * 10, frozenset(uids), logins)


LISTENER = process(10, 1, 0, leads=True)
SERVES = process(20, 10, 0, leads=True)
CHILD = process(21, 20, ALICE)


@pytest.mark.parametrize(
    ("processes", "leader", "is_so"),
    [
        ([LISTENER, SERVES, CHILD], Leader(20, 200), True),
        ([LISTENER, process(20, 10, 0, name="sshd-session", leads=True), CHILD], Leader(20, 200), True),
        ([LISTENER, SERVES, CHILD], Leader(20, 201), False),
        ([LISTENER, SERVES, CHILD], Leader(10, 100), False),
        ([LISTENER, SERVES, CHILD], Leader(21, 210), False),
        ([LISTENER, SERVES, process(21, 20, BOB)], Leader(20, 200), False),
        ([LISTENER, SERVES, CHILD, process(22, 20, BOB)], Leader(20, 200), False),
        ([LISTENER, SERVES], Leader(20, 200), False),
        ([process(20, 10, 0, name="nginx", leads=True), CHILD], Leader(20, 200), False),
        ([process(20, 10, 0), CHILD], Leader(20, 200), False),
        ([process(20, 10, ALICE, leads=True), CHILD], Leader(20, 200), False),
        ([process(20, 10, 0, ALICE, leads=True), CHILD], Leader(20, 200), False),
        ([SERVES, process(21, 20, ALICE, name="bash")], Leader(20, 200), False),
        ([], Leader(20, 200), False),
    ],
    ids=["it is", "newer sshd", "other start", "the listener", "the child", "another account", "two accounts",
         "nobody's", "another program", "leads nothing", "not root's", "half root's", "no child of sshd", "gone"],
)  # fmt: skip
def test_session_is_that_of_the_account_that_its_sshd_serves(
    processes: list[Process], leader: Leader, is_so: bool
) -> None:
    assert ssh_sessions.belongs({each.pid: each for each in processes}, leader, ALICE) is is_so


@pytest.mark.parametrize(
    ("parent", "leader", "expected"),
    [
        ({}, {"audit 5": ALICE}, {"audit 5"}),
        ({}, {"audit 5": BOB, SCOPE: ALICE}, {SCOPE}),
        ({SCOPE: ALICE}, {"audit 5": ALICE, SCOPE: ALICE}, {"audit 5"}),
        ({"audit 1": 0}, {"audit 1": 0}, set()),
    ],
    ids=["its own", "that of another account", "sshd was started in a login of the account", "of root"],
)
def test_login_in_which_sshd_itself_was_started_is_not_that_of_the_connection(
    parent: dict[str, int], leader: dict[str, int], expected: set[str]
) -> None:
    serves = process(20, 10, 0, leads=True, **leader)
    all_ = {10: process(10, 1, 0, leads=True, **parent), 20: serves}
    assert ssh_sessions._own_logins(all_, serves, ALICE) == expected  # noqa: SLF001


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (f"0::{SCOPE}\n", {SCOPE: ALICE}),
        (f"12:pids:/x\n1:name=systemd:{SCOPE}\n0::/\n", {SCOPE: ALICE}),
        ("0::/system.slice/ssh.service\n", {}),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n", {}),
        ("0::/session-3.scope\n", {}),
        (f"0::{SCOPE}/below\n", {}),
        ("", {}),
    ],
)
def test_login_of_systemd_is_read_from_the_control_group(tmp_path: Path, cgroup: str, expected: dict[str, int]) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    assert ssh_sessions._scope(tmp_path) == expected  # noqa: SLF001


@pytest.mark.parametrize(
    ("number", "uid", "expected"),
    [("5", "1000", {"audit 5": ALICE}), ("4294967295", "1000", {}), ("5", "4294967295", {}), ("", "", {})],
)
def test_login_of_the_audit_system_is_read_from_its_numbers(
    tmp_path: Path, number: str, uid: str, expected: dict[str, int]
) -> None:
    (tmp_path / "sessionid").write_text(number)
    (tmp_path / "loginuid").write_text(uid)
    assert ssh_sessions._audit(tmp_path) == expected  # noqa: SLF001
    assert ssh_sessions._audit(tmp_path / "none") == {}  # noqa: SLF001
