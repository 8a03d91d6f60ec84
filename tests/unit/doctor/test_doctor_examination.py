"""Tests the checks of sshd's host keys, its temporary folder, and the forced command."""

import os
from pathlib import Path

import pytest

from sshaft_doctor import examination
from sshaft_doctor.accounts import Account
from sshaft_doctor.examination import Subject
from sshaft_doctor.findings import Severity


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "ssh_host_ed25519_key"
    path.write_text("key")
    path.chmod(0o600)
    return path


def test_host_key_of_root_has_no_finding(key: Path) -> None:
    found = examination.host_key(key)
    assert [f.check for f in found] == ([] if os.geteuid() == 0 else ["path.host_key"])  # this user owns the key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_host_key_that_others_can_read_is_an_error(key: Path, mode: int) -> None:
    key.chmod(mode)
    (found,) = examination.host_key(key)
    assert (found.check, found.severity) == ("path.host_key", Severity.ERROR)
    assert found.remedy == f"chown root {key} && chmod 0600 {key}"


def test_host_key_that_is_missing_is_a_note_with_the_command_that_makes_it(tmp_path: Path) -> None:
    (found,) = examination.host_key(tmp_path / "none")
    assert found.severity == Severity.NOTE
    assert found.remedy.startswith("ssh-keygen ")


def test_folder_that_the_login_account_cannot_write_to_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (found,) = examination.temporary(tmp_path)
    assert (found.check, found.severity) == ("path.tmp", Severity.ERROR)
    (missing,) = examination.temporary(tmp_path / "none")
    assert missing.check == "path.tmp"
    tmp_path.chmod(0o1777)
    assert examination.temporary(tmp_path) == []


LOGIN = Account("mfa", 4_000_002, 4_000_002, frozenset({4_000_002}))


def test_forced_command_that_is_missing_is_an_error(tmp_path: Path) -> None:
    (found,) = examination.login_command(tmp_path / "none", LOGIN)
    assert (found.check, found.severity) == ("path.login", Severity.ERROR)


def test_forced_command_that_the_login_account_cannot_run_is_an_error() -> None:
    (found,) = examination.login_command(Path("/etc/passwd"), LOGIN)
    assert (found.check, found.severity) == ("path.reach", Severity.ERROR)
    assert "mfa can't run /etc/passwd" in found.what
    assert examination.login_command(Path("/usr/bin/env"), LOGIN) == []


def test_missing_folder_of_sshd_has_its_own_finding_and_remedy(tmp_path: Path) -> None:
    """Finding N10: the advice was to write another sshd_config."""
    sshd, config = tmp_path / "sshd", tmp_path / "sshd_config"
    sshd.write_text(
        "#!/bin/sh\n"
        "[ $1 = -V ] && echo OpenSSH_9.2p1 >&2 || echo Missing privilege separation directory: /run/sshd >&2\n"
        "exit 255\n"
    )
    sshd.chmod(0o755)
    config.write_text("Port 2222\n")
    _, found = examination.examine(Subject(sshd, config))
    (missing,) = [finding for finding in found if finding.check == "sshd.directory"]
    assert (missing.severity, missing.where) == (Severity.ERROR, "/run/sshd")
    assert missing.remedy.startswith("install -d -m 0755 /run/sshd; ")
    assert not [finding for finding in found if finding.check == "sshd.config"]


@pytest.mark.parametrize(("version", "told"), [("8.6p1", True), ("8.7p1", False), ("10.0p2", False)])
def test_version_that_sshd_config_refuses_is_an_error(tmp_path: Path, version: str, told: bool) -> None:
    """Case old_openssh."""
    sshd = tmp_path / "sshd"
    sshd.write_text(f"#!/bin/sh\necho OpenSSH_{version} >&2\nexit 1\n")
    sshd.chmod(0o755)
    (tmp_path / "sshd_config").write_text("Port 2222\n")
    _, found = examination.examine(Subject(sshd, tmp_path / "sshd_config"))
    assert any(finding.check == "sshd.version" for finding in found) is told


FACTOR = "AuthorizedKeysCommand /usr/libexec/sshaft/sshaft-keys --agent %f %t %k\nAuthorizedKeysCommandUser nobody\n"
CHECKS = ("sshd.maxsessions", "sshd.authorizedkeyscommand")


@pytest.mark.parametrize(
    ("separate", "own", "examined"),
    [
        (FACTOR, "", ["separate"]),
        (FACTOR, FACTOR, ["separate", "own"]),
        (None, FACTOR, ["own"]),
        (None, "", ["own"]),
    ],
)
def test_doctor_finds_the_files_of_sshd_that_use_sshaft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separate: str | None, own: str, examined: list[str]
) -> None:
    texts = {"separate": separate, "own": own}
    for name, constant in (("separate", "SEPARATE"), ("own", "HOST")):
        monkeypatch.setattr(examination, constant, tmp_path / name)
        if texts[name] is not None:
            (tmp_path / name).write_text(f"UsePAM no\nMaxSessions 0\n{texts[name]}")
    _, found = examination.examine(Subject(Path("/usr/sbin/sshd")))
    looked = [Path(f.where).name.partition(":")[0] for f in found if f.check in CHECKS]
    assert list(dict.fromkeys(looked)) == examined
