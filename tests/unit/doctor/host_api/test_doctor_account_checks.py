"""Tests the checks of the account of host-api."""

import os
from pathlib import Path

from sshaft_doctor import accounts
from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Severity
from sshaft_doctor.host_api import account_checks

ME = accounts.of_uid(os.geteuid())
USER = Account("sshaft-host-api", 4_000_001, 4_000_001, frozenset({4_000_001}))


def told(user: Account, *private: Path, agent: Account | None = ME) -> list[tuple[str, Severity]]:
    return [(each.check, each.severity) for each in account_checks.examine(user, private, agent)]


def test_account_that_can_read_nothing_of_the_agent_is_right(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "secret").chmod(0o400)
    assert told(USER, tmp_path / "secret", tmp_path / "missing") == [("api.account", Severity.OK)]


def test_file_and_folder_that_the_group_can_read_are_errors() -> None:
    """Their folders are open to everybody."""
    reader = Account("reader", 4_000_002, 0, frozenset({0}))
    (found,) = account_checks.examine_private(Path("/usr"), reader, ME)
    assert (found.severity, found.remedy) == (Severity.ERROR, f"chown {ME.name} /usr && chmod 0700 /usr")
    (found,) = account_checks.examine_private(Path("/etc/passwd"), reader, ME)
    assert (found.severity, found.remedy) == (
        Severity.ERROR, f"chown {ME.name} /etc/passwd && chmod 0400 /etc/passwd"
    )  # fmt: skip


def test_file_in_a_folder_that_the_account_cannot_enter_is_safe(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_text("s")
    (folder / "secret").chmod(0o444)
    assert account_checks.examine_private(folder / "secret", USER, ME) == []


def test_account_in_the_group_of_the_agent_is_an_error() -> None:
    agent = Account("sshaft", 4_000_003, 4_000_003, frozenset({4_000_003, USER.gid}))
    assert told(USER, agent=agent) == [("api.account", Severity.OK)]
    member = Account(USER.name, USER.uid, USER.gid, USER.groups | {agent.gid})
    assert told(member, agent=agent) == [("api.account", Severity.ERROR)]
