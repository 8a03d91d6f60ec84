"""Tests the checks of config.json and its secret files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sshaft import config
from sshaft_doctor import accounts, secret_files
from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Finding, Severity
from sshaft_doctor.secret_files import Readers

ME = accounts.of_uid(os.geteuid())
KEYS = Account("_sshaft-keys", 4_000_001, 4_000_001, frozenset({4_000_001}))
LOGIN = Account("mfa", 4_000_002, 4_000_002, frozenset({4_000_002}))
VALUES: dict[str, Any] = {
    "token_endpoint": "https://id.example.com/t", "client_id": "x", "login_path": "/sshaft/login", "client_secret": "s",
    "mfa_list_endpoint": "https://id.example.com/k", "mfa_accept_endpoint": "https://id.example.com/a",
}  # fmt: skip

Write = Callable[..., Path]


def secrets(found: list[Finding]) -> list[str]:
    return [f.where for f in found if f.check == "path.secret"]


def test_file_that_only_the_agent_can_read_has_no_finding(write_config: Write) -> None:
    path = write_config(VALUES, mode=0o400)
    assert secrets(secret_files.examine(path, Readers(ME, KEYS, LOGIN))) == []


@pytest.mark.parametrize("mode", [0o404, 0o444, 0o602])
def test_file_that_is_open_to_everybody_has_a_finding(write_config: Write, mode: int) -> None:
    path = write_config(VALUES, mode=mode)
    assert secrets(secret_files.examine(path, Readers(ME, KEYS, LOGIN))) == [str(path)]


@pytest.mark.parametrize("which", ["keys", "login"])
def test_file_that_an_account_of_sshd_can_read_has_a_finding(write_config: Write, which: str) -> None:
    path = write_config(VALUES, mode=0o440)
    group = path.stat().st_gid
    reader = Account(which, 4_000_003, group, frozenset({group}))
    readers = Readers(ME, reader if which == "keys" else KEYS, reader if which == "login" else LOGIN)
    (found,) = [f for f in secret_files.examine(path, readers) if f.check == "path.secret"]
    assert f"{which} can read" in found.what
    assert found.remedy == f"chown {ME.name} {path} && chmod 0400 {path}"
    assert secrets(secret_files.examine(path, Readers(ME, KEYS, LOGIN))) == []


def test_secret_files_of_the_configuration_are_examined(write_config: Write, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o444)
    values = {name: value for name, value in VALUES.items() if name != "client_secret"}
    path = write_config({**values, "client_secret_file": str(secret)})
    assert secrets(secret_files.examine(path, Readers(ME, KEYS, LOGIN))) == [str(secret)]
    secret.chmod(0o400)
    assert secrets(secret_files.examine(path, Readers(ME, KEYS, LOGIN))) == []


def test_both_accounts_must_read_a_stand_alone_configuration(write_config: Write) -> None:
    path = write_config(VALUES, mode=0o400)
    found = secret_files.examine(path, Readers(None, KEYS, LOGIN))
    assert (
        len([f for f in found if f.check == "path.config" and ("can't read" in f.what or "can't enter" in f.what)]) == 2
    )
    assert [f for f in secret_files.examine(path, Readers(None, ME, ME)) if "can't" in f.what] == []


def test_finding_quotes_the_error_of_a_wrong_configuration(write_config: Write, tmp_path: Path) -> None:
    settings, (found,) = secret_files.load(write_config({**VALUES, "clientid": "x"}))
    assert settings is None
    assert (found.check, found.severity) == ("service.config", Severity.ERROR)
    assert "the nearest known one is 'client_id'" in found.what
    assert secret_files.load(tmp_path / "none")[1][0].severity == Severity.ERROR
    assert secret_files.load(None)[1][0].severity == Severity.NOTE
    assert secret_files.load(write_config(VALUES)) == (config.load(write_config(VALUES)), [])


def test_named_file_comes_before_the_usual_places(tmp_path: Path) -> None:
    assert secret_files.find(tmp_path / "a", "/b") == tmp_path / "a"
    assert secret_files.find(None, "/b") == Path("/b")
