"""Tests what the doctor says of PAM stacks: those of Debian and Red Hat, and ways around host login."""

from pathlib import Path

import pytest

from sshaft_doctor.findings import Severity
from sshaft_doctor.host_login import pam_stack, stack_checks
from sshaft_doctor.host_login.stack_checks import ACCOUNT_CONTROL, AUTH_CONTROL

AUTH = f"auth {AUTH_CONTROL} pam_sshaft.so"
ACCOUNT = f"account {ACCOUNT_CONTROL} pam_sshaft.so"
DEBIAN = {
    "common-auth": """\
auth	[success=1 default=ignore]	pam_unix.so nullok
auth	requisite			pam_deny.so
auth	required			pam_permit.so
""",
    "common-account": """\
account	[success=1 new_authtok_reqd=done default=ignore]	pam_unix.so
account	requisite			pam_deny.so
account	required			pam_permit.so
""",
}
RED_HAT = {
    "password-auth": """\
auth        required                                     pam_env.so
auth        required                                     pam_faildelay.so delay=2000000
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        [default=1 ignore=ignore success=ok]         pam_localuser.so
auth        sufficient                                   pam_unix.so nullok
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        sufficient                                   pam_sss.so forward_pass
auth        required                                     pam_deny.so
account     required                                     pam_unix.so
account     sufficient                                   pam_localuser.so
account     sufficient                                   pam_usertype.so issystem
account     [default=bad success=ok user_unknown=ignore] pam_sss.so
account     required                                     pam_permit.so
""",
}
DEBIAN_SSHD = "@include common-auth\naccount required pam_nologin.so\n@include common-account\n"
RED_HAT_SSHD = """\
#%PAM-1.0
auth       substack     password-auth
auth       include      postlogin
account    required     pam_sepermit.so
account    required     pam_nologin.so
account    include      password-auth
"""


def judged(folder: Path, sshd: str, **more: str) -> dict[str, tuple[Severity, str]]:
    """Returns the findings of a stack by check, without those that say that all is right."""
    files = {**DEBIAN, **RED_HAT, "postlogin": "", "other": "auth required pam_deny.so\n", "sshd": sshd, **more}
    for name, text in files.items():
        (folder / name).write_text(text)
    found = stack_checks.judge(pam_stack.read("sshd", [folder]))
    assert all(finding.where.startswith(str(folder)) for finding in found)
    return {each.check: (each.severity, each.what) for each in found if each.severity != Severity.OK}


@pytest.mark.parametrize("sshd", [DEBIAN_SSHD, RED_HAT_SSHD])
def test_line_of_enable_is_right_before_every_stack(tmp_path: Path, sshd: str) -> None:
    assert judged(tmp_path, f"{AUTH} timeout=280\n{sshd}") == {}
    account = sshd.replace("account", f"{ACCOUNT}\naccount", 1)
    assert judged(tmp_path, f"{AUTH}\n{account}") == {}


@pytest.mark.parametrize(("sshd", "name"), [(DEBIAN_SSHD, "pam_unix.so"), (RED_HAT_SSHD, "pam_sss.so")])
def test_module_that_lets_in_before_host_login_is_an_error(tmp_path: Path, sshd: str, name: str) -> None:
    (found,) = judged(tmp_path, f"auth sufficient {name}\n{AUTH}\n{sshd}").values()
    assert found[0] == Severity.ERROR
    assert found[1].startswith(name)
    assert "lets in before host login is asked" in found[1]


def test_jump_over_host_login_is_an_error(tmp_path: Path) -> None:
    told = judged(tmp_path, f"auth [success=1 default=ignore] pam_unix.so\n{AUTH}\nauth required pam_permit.so\n")
    assert told["host.order"][0] == Severity.ERROR


def test_module_that_is_asked_before_host_login_is_a_warning(tmp_path: Path) -> None:
    told = judged(tmp_path, f"{DEBIAN_SSHD}{AUTH}\n")
    assert told["host.order"] == (
        Severity.WARNING, "pam_unix.so is asked before host login: without a pass there, nobody gets to it"
    )  # fmt: skip
    assert judged(tmp_path, f"auth required pam_env.so\n{AUTH}\n{DEBIAN_SSHD}") == {}


@pytest.mark.parametrize(
    ("control", "severity"),
    [
        ("sufficient", Severity.ERROR),
        ("optional", Severity.ERROR),
        ("[success=done default=ignore]", Severity.ERROR),
        ("[success=done ignore=ignore auth_err=ignore default=die]", Severity.ERROR),
        ("[success=done ignore=ignore module_unknown=ignore default=die]", Severity.ERROR),
        ("[success=1 ignore=ignore default=2]", Severity.ERROR),
        ("[success=done ignore=ignore authinfo_unavail=ignore default=die]", Severity.WARNING),
    ],
)
def test_password_that_opens_after_a_refusal_is_told(tmp_path: Path, control: str, severity: Severity) -> None:
    told = judged(tmp_path, f"auth {control} pam_sshaft.so\n{DEBIAN_SSHD}")
    assert told["host.passwords"][0] == severity
    opener = "pam_permit.so" if control.endswith("default=2]") else "pam_unix.so (a password of this host)"
    assert opener in told["host.passwords"][1]


@pytest.mark.parametrize(
    ("control", "what"),
    [
        ("sufficient", "host login does not have the last word: after a refusal, {} can let in"),
        ("[success=done ignore=ignore module_unknown=ignore default=die]",
         "host login does not have the last word: after a missing module file, {} can let in"),
        ("[success=done ignore=ignore system_err=ignore default=die]",
         "host login does not have the last word: after the result system_err, {} can let in"),
        ("[success=done ignore=ignore authinfo_unavail=ignore default=die]",
         "while the agent is away, {} lets in without host login"),
    ],
)  # fmt: skip
def test_finding_names_the_result_and_the_module_that_lets_in(tmp_path: Path, control: str, what: str) -> None:
    told = judged(tmp_path, f"auth {control} pam_sshaft.so\n{DEBIAN_SSHD}")
    assert told["host.passwords"][1] == what.format("pam_unix.so (a password of this host)")
    told = judged(tmp_path, f"auth {control} pam_sshaft.so\nauth required pam_sss.so\n")
    assert told["host.passwords"][1] == what.format("pam_sss.so")


def test_password_that_is_asked_after_an_approval_is_a_note(tmp_path: Path) -> None:
    told = judged(tmp_path, f"auth required pam_sshaft.so\n{DEBIAN_SSHD}")
    assert {check: severity for check, (severity, _) in told.items()} == {"host.approval": Severity.NOTE}


def test_stack_that_refuses_after_an_approval_is_an_error(tmp_path: Path) -> None:
    told = judged(tmp_path, "auth required pam_sshaft.so\nauth required pam_deny.so\n")
    assert told["host.approval"][0] == Severity.ERROR


def test_emergency_account_needs_a_module_that_lets_it_in(tmp_path: Path) -> None:
    line = f"{AUTH} break_glass=admin\n"
    told = judged(tmp_path, f"{line}auth requisite pam_deny.so\n")
    assert told["host.break_glass"][0] == Severity.ERROR
    told = judged(tmp_path, f"{line}{DEBIAN_SSHD}")
    assert told["host.break_glass"][0] == Severity.NOTE
    assert "pam_unix.so" in told["host.break_glass"][1]


def test_line_in_a_file_of_other_services_is_a_warning(tmp_path: Path) -> None:
    told = judged(tmp_path, DEBIAN_SSHD, **{"common-auth": f"{AUTH}\n{DEBIAN['common-auth']}"})
    assert {check: severity for check, (severity, _) in told.items()} == {"host.shared": Severity.WARNING}


@pytest.mark.parametrize("sshd", [DEBIAN_SSHD, RED_HAT_SSHD])
def test_account_line_that_comes_too_late_is_an_error(tmp_path: Path, sshd: str) -> None:
    """Debian's common-account ends the stack for an expired password; Red Hat's for every account of /etc/passwd."""
    told = judged(tmp_path, f"{AUTH}\n{sshd}{ACCOUNT}\n")
    assert told["host.account"][0] == Severity.ERROR
    assert "before host login is asked" in told["host.account"][1]


@pytest.mark.parametrize("control", ["optional", "sufficient", "[success=ok default=ignore]"])
def test_account_line_whose_refusal_does_not_count_is_an_error(tmp_path: Path, control: str) -> None:
    told = judged(tmp_path, f"{AUTH}\naccount {control} pam_sshaft.so\n{DEBIAN_SSHD}")
    assert "does not have the last word about an account" in told["host.account"][1]


def test_stack_of_other_counts_where_the_service_has_no_line(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("auth required pam_permit.so\n")
    (tmp_path / "sshd").write_text("account required pam_permit.so\n")
    stack = pam_stack.read("sshd", [tmp_path])
    assert [line.name for line in stack.of("auth")] == ["pam_permit.so"]


def test_continued_line_and_comment_are_read_as_libpam_does(tmp_path: Path) -> None:
    (tmp_path / "sshd").write_text("# auth required a.so\nauth \\\n  [success=ok \\\n default=die] b.so x=1 # y\n")
    (line,) = pam_stack.read("sshd", [tmp_path]).lines
    assert (line.number, line.name, line.arguments, line.action("ignore")) == (2, "b.so", ("x=1",), "die")
