"""Tests the login with a key line of ours, with the real sshd and ssh of this machine."""

import os
import shutil
from pathlib import Path

import pytest

from sshaft import authorized_keys, public_key
from sshaft_doctor import accounts, effective, key_line
from sshaft_doctor.findings import Severity

ME = accounts.of_uid(os.geteuid())


@pytest.fixture
def folder(sshd: Path, tmp_path: Path) -> Path:
    assert sshd
    if not shutil.which("ssh"):
        pytest.skip("needs Debian's openssh-client")
    if ME.shell.endswith(("nologin", "false")):
        pytest.skip("sshd lets this account run nothing")
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.geteuid() and not above.stat().st_mode & 0o1:
            above.chmod(0o711)
    return tmp_path


def line(folder: Path) -> str:
    key = public_key.parse(effective.make_key(folder / "key").with_suffix(".pub").read_text())
    return authorized_keys.line(key, ("/bin/echo", "understood"))


def test_line_of_the_agent_is_understood_by_the_sshd_of_this_machine(sshd: Path, folder: Path) -> None:
    """Case old_openssh: the check uses a real line."""
    found = key_line.judge(*key_line.log_in(sshd, folder, line(folder), ME.name))
    assert (found.check, found.severity, found.what) == ("keys.line", Severity.OK, "sshd understands the key line")


@pytest.mark.parametrize("wrong", ['expiry-time="no time"', "option-of-tomorrow"])
def test_line_that_sshd_does_not_understand_is_an_error_with_its_words(sshd: Path, folder: Path, wrong: str) -> None:
    """Case old_openssh: an sshd that did not know the end of a line let nobody in, and the doctor found no error."""
    text = f"{wrong},{line(folder)}"
    found = key_line.judge(*key_line.log_in(sshd, folder, text, ME.name))
    assert found.severity == Severity.ERROR
    assert "so nobody can log in: " in found.what


def test_login_that_fails_for_another_reason_is_not_called_right_or_wrong() -> None:
    found = key_line.judge("", "debug1: x\nPermission denied (publickey).\n")
    assert (found.severity, found.what) == (
        Severity.NOTE, "not checked: whether sshd understands a key line (Permission denied (publickey).)"
    )  # fmt: skip


def test_sshd_that_is_missing_is_not_called_right_or_wrong(folder: Path) -> None:
    (found,) = key_line.examine(folder / "none", ME)
    assert found.severity == Severity.NOTE
