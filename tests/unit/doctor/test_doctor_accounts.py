"""Tests the checks of accounts in passwd and shadow."""

import os
from pathlib import Path

import pytest

from sshaft_doctor import accounts
from sshaft_doctor.accounts import Account, Shadow, judge_keys_user, judge_login, judge_password
from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Severity

LOGIN = Account("mfa", 482, 482, frozenset({482}), "/", "/bin/sh", "*")
KEYS = Account("_sshaft-keys", 481, 481, frozenset({481}))


def with_shell(shell: str) -> Account:
    return Account("mfa", 482, 482, frozenset({482}), "/", shell, "*")


@pytest.mark.parametrize("shell", ["/bin/sh", "/usr/bin/sh", ""])
def test_plain_shell_has_no_finding(shell: str) -> None:
    assert judge_login(with_shell(shell)) == []


@pytest.mark.parametrize(
    ("shell", "severity", "word"),
    [
        ("/usr/sbin/nologin", Severity.ERROR, "sshaft-login is not run"),
        ("/bin/false", Severity.ERROR, "sshaft-login is not run"),
        ("/bin/no-such-shell", Severity.ERROR, "refuses the account"),
        ("/etc/passwd", Severity.ERROR, "refuses the account"),
        ("/etc", Severity.ERROR, "refuses the account"),
        ("/bin/bash", Severity.WARNING, ".bashrc"),
    ],
)
def test_finding_about_a_wrong_shell_names_the_consequence(shell: str, severity: Severity, word: str) -> None:
    (found,) = judge_login(with_shell(shell))
    assert (found.check, found.severity) == ("account.shell", severity)
    assert word in found.what
    assert found.remedy == "usermod --shell /bin/sh mfa"


def test_login_as_root_has_a_finding() -> None:
    assert [f.check for f in judge_login(Account("toor", 0, 0, frozenset({0})))] == ["account.login"]


@pytest.mark.parametrize("password", ["!", "!!", "!*", "!$6$x"])
def test_locked_account_has_a_finding_unless_pam_decides(password: str) -> None:
    (found,) = judge_password(LOGIN, Shadow(password), pam=False, today=20000)
    assert (found.check, found.remedy) == ("account.locked", "usermod --password '*' mfa")
    assert judge_password(LOGIN, Shadow(password), pam=True, today=20000) == []


@pytest.mark.parametrize("shadow", [Shadow("*"), Shadow("*LK*"), Shadow("$6$x"), Shadow("*", 20000), None])
def test_open_account_has_no_finding(shadow: Shadow | None) -> None:
    assert judge_password(LOGIN, shadow, pam=False, today=20000) == []


def test_expired_account_and_empty_password_have_findings() -> None:
    assert [f.check for f in judge_password(LOGIN, Shadow("*", 19999), pam=False, today=20000)] == ["account.expired"]
    assert [f.check for f in judge_password(LOGIN, Shadow(""), pam=True, today=20000)] == ["account.locked"]


def test_shadow_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/shadow").write_text("mfaa:!:1:0:9:7:::\nmfa:*:1:0:9:7::19000:\nbroken\n")
    assert accounts.read_shadow("mfa", tmp_path) == Shadow("*", 19000)
    assert accounts.read_shadow("mfaa", tmp_path) == Shadow("!")
    assert accounts.read_shadow("nobody", tmp_path) is None
    assert accounts.read_shadow("nobody", tmp_path / "none") is None


def test_missing_or_shared_keys_user_has_a_finding() -> None:
    assert judge_keys_user("_sshaft-keys", KEYS, LOGIN) == []
    assert judge_keys_user("_sshaft-keys", KEYS, None) == []
    (missing,) = judge_keys_user("_sshaft-keys", None, LOGIN)
    assert missing.severity == Severity.ERROR
    assert missing.remedy.startswith("useradd --system")
    (shared,) = judge_keys_user("mfa", LOGIN, LOGIN)
    assert shared.severity == Severity.WARNING
    (joined,) = judge_keys_user("_sshaft-keys", KEYS, Account("mfa", 482, 482, frozenset({481, 482})))
    assert joined.remedy == "gpasswd --delete mfa _sshaft-keys"
    (root,) = judge_keys_user("toor", Account("toor", 0, 0, frozenset({0})), LOGIN)
    assert root.severity == Severity.ERROR


def examined(login_user: str, root: Path, **values: str) -> list[str]:
    settings = Effective({name.lower(): (value,) for name, value in values.items()})
    return [finding.check for finding in accounts.examine(settings, login_user, root)]


def test_unknown_login_user_is_one_finding(tmp_path: Path) -> None:
    assert examined("no-such-account", tmp_path) == ["account.login"]


def test_command_user_may_be_named_by_a_token(tmp_path: Path) -> None:
    settings = Effective({"authorizedkeyscommanduser": ("%u",)})
    assert accounts.keys_user(settings, "mfa") == "mfa"
    assert accounts.keys_user(Effective({}), "mfa") == ""
    assert "account.keys" in examined("root", tmp_path, AuthorizedKeysCommandUser="no-such-account")
    assert "account.keys" not in examined("root", tmp_path, AuthorizedKeysCommandUser="none")


def test_nologin_file_has_a_finding_unless_pam_decides(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nologin").write_text("")
    assert examined("no-such-account", tmp_path) == ["account.login", "account.nologin"]
    assert examined("no-such-account", tmp_path, UsePAM="yes") == ["account.login"]


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("AllowGroups", "no-such-group", True),
        ("AllowGroups", "root", False),
        ("AllowGroups", "r*", False),
        ("DenyGroups", "root", True),
        ("DenyGroups", "no-such-group", False),
    ],
)
def test_groups_that_keep_the_account_out_have_a_finding(tmp_path: Path, keyword: str, value: str, told: bool) -> None:
    assert (f"sshd.{keyword.lower()}" in examined("root", tmp_path, **{keyword: value})) is told


def test_missing_home_and_home_of_others_have_findings(tmp_path: Path) -> None:
    def told(home: str) -> list[str]:
        return [f.check for f in accounts.judge_home(Account("mfa", 482, 482, frozenset({482}), home))]

    assert told("/") == []
    assert told(str(tmp_path / "none")) == ["account.home"]
    tmp_path.chmod(0o777)
    assert told(str(tmp_path)) == ["account.home"]


def test_account_of_a_uid_without_a_name_is_its_number() -> None:
    assert accounts.of_uid(4_000_000).name == "4000000"
    assert accounts.of_uid(os.geteuid()).uid == os.geteuid()
