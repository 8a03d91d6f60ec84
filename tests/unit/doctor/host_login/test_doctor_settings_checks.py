"""Tests what the doctor says of sshd's settings for host login."""

from dataclasses import replace
from pathlib import Path

import pytest

from sshaft.openssh_version import Version
from sshaft_doctor.effective import Effective, parse
from sshaft_doctor.findings import Severity
from sshaft_doctor.host_login import settings_checks
from sshaft_doctor.host_login.settings_checks import Asked
from sshaft_doctor.sources import Line

RIGHT = """\
usepam yes
kbdinteractiveauthentication yes
passwordauthentication no
permitrootlogin prohibit-password
authenticationmethods any
logingracetime 300
maxstartups 50:30:200
persourcepenalties authfail:1 noauth:1 grace-exceeded:10
"""
NEW = Version(10, 0)
ASKED = Asked("/etc/pam.d/sshd:4", 280, root_by_password=True)


def settings(**changes: str) -> Effective:
    text = "\n".join(f"{name} {value}" for name, value in changes.items())
    kept = [line for line in RIGHT.splitlines() if line.split()[0] not in changes]
    return parse("\n".join([*kept, text]))


def told(asked: Asked = ASKED, version: Version = NEW, **changes: str) -> dict[str, Severity]:
    found = settings_checks.judge(settings(**changes), version, asked)
    assert all(each.remedy for each in found)
    return {each.check: each.severity for each in found}


def test_right_settings_have_no_finding() -> None:
    assert told() == {}


@pytest.mark.parametrize(
    ("changes", "check", "severity"),
    [
        ({"usepam": "no"}, "host.usepam", Severity.ERROR),
        ({"kbdinteractiveauthentication": "no"}, "host.kbdinteractiveauthentication", Severity.ERROR),
        ({"authenticationmethods": "publickey"}, "host.authenticationmethods", Severity.ERROR),
        ({"authenticationmethods": "publickey,password password"}, "host.authenticationmethods", Severity.ERROR),
        ({"logingracetime": "280"}, "host.logingracetime", Severity.WARNING),
        ({"logingracetime": "120"}, "host.logingracetime", Severity.WARNING),
        ({"logingracetime": "0"}, "host.logingracetime", Severity.NOTE),
        ({"maxstartups": "10:30:100"}, "host.maxstartups", Severity.WARNING),
        ({"maxstartups": "5"}, "host.maxstartups", Severity.WARNING),
        ({"passwordauthentication": "yes"}, "host.passwordauthentication", Severity.NOTE),
        ({"permitrootlogin": "yes"}, "host.permitrootlogin", Severity.WARNING),
        ({"persourcepenalties": "authfail:5 noauth:1"}, "sshd.penalties", Severity.WARNING),
    ],
)
def test_wrong_setting_has_its_finding(changes: dict[str, str], check: str, severity: Severity) -> None:
    assert told(**changes) == {check: severity}


@pytest.mark.parametrize(
    "methods", ["publickey,keyboard-interactive:pam", "keyboard-interactive", "keyboard-interactive:pam publickey"]
)
def test_list_of_methods_that_asks_pam_has_no_finding(methods: str) -> None:
    assert told(authenticationmethods=methods) == {}


def test_short_time_for_an_approval_is_a_warning() -> None:
    assert told(Asked("x:1", 45, root_by_password=True)) == {"host.timeout": Severity.WARNING}
    assert settings_checks.timeout_of(None) == 100


def test_root_in_a_match_block_is_told_with_its_place() -> None:
    lines = [Line(Path("/x"), 9, "permitrootlogin", "yes", "Address 10.0.0.0/8"), Line(Path("/x"), 4, "usepam", "yes")]
    own = replace(settings(), lines=tuple(lines))
    assert [each.where for each in settings_checks.judge(own, NEW, ASKED)] == ["/x:9"]


def test_certificates_without_the_account_line_are_a_note() -> None:
    asked = replace(ASKED, about_account=False)
    assert told(asked, trustedusercakeys="/etc/ssh/ca.pub") == {"host.certificates": Severity.NOTE}
    assert told(ASKED, trustedusercakeys="/etc/ssh/ca.pub") == {}
    assert told(asked, trustedusercakeys="none") == {}


def test_root_without_a_way_in_has_no_finding() -> None:
    assert told(Asked("x:1", 280, root_by_password=False), permitrootlogin="yes") == {}


def test_penalties_count_from_the_version_that_has_them() -> None:
    assert told(version=Version(9, 2), persourcepenalties="") == {}
