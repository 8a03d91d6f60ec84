"""Tests calls as another account, with real processes."""

import os
from pathlib import Path

import pytest

from sshaft_doctor import accounts, as_account
from sshaft_doctor.as_account import ChildError

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another account")


def who() -> dict[str, list[int]]:
    return {"ids": [*os.getresuid(), *os.getresgid()], "groups": sorted(os.getgroups())}


@pytest.mark.root
@root
def test_function_runs_as_the_account_with_its_groups_only() -> None:
    nobody = accounts.find("nobody")
    assert nobody
    told = as_account.call(nobody, who)
    assert told == {"ids": [nobody.uid] * 3 + [nobody.gid] * 3, "groups": sorted(nobody.groups)}
    assert os.geteuid() == 0


@pytest.mark.root
@root
def test_function_that_fails_as_the_account_is_an_error_and_not_called_as_root() -> None:
    calls: list[int] = []

    def fail() -> dict[str, str]:
        calls.append(1)
        raise ValueError

    with pytest.raises(ChildError, match="as nobody has failed"):
        as_account.call(accounts.find("nobody"), fail)
    assert calls == []


def test_function_runs_here_for_the_own_account_and_without_an_account() -> None:
    for account in (None, accounts.of_uid(os.geteuid())):
        assert as_account.call(account, lambda: {"pid": os.getpid()}) == {"pid": os.getpid()}


def test_owner_is_the_account_of_the_file(tmp_path: Path) -> None:
    owner = as_account.owner_of(tmp_path)
    assert owner
    assert owner.uid == os.geteuid()
    assert as_account.owner_of(tmp_path / "none") is None
