"""Examines what a first login needs: the account line, NSS, sshaft-accounts, uids, and settings of sshd."""

from pathlib import Path

from sshaft.command_line.severity import Severity
from sshaft_doctor.accounts import Account
from sshaft_doctor.effective import Effective, seconds
from sshaft_doctor.findings import Finding, error, ok, warning
from sshaft_doctor.host_login import helper_checks, nss_checks, role_checks, stack_checks, uid_checks
from sshaft_doctor.host_login.create import POLICY, Create, Policy, read_policy
from sshaft_doctor.host_login.pam_stack import Stack

_ENABLE = "sshaft host enable --require-approval, and its other options"


def examine(create: Create, stack: Stack, settings: Effective, agent: Account | None) -> list[Finding]:
    """Returns findings about first logins, or one that says that nothing is wrong."""
    policy = _policy()
    found = [
        *judge_stack(create, stack),
        *nss_checks.examine(policy.backend if policy else "passwd"),
        *helper_checks.examine(create, policy, agent),
        *role_checks.examine(create, policy),
        *uid_checks.examine(create),
        *judge_settings(create, settings),
    ]
    if any(each.severity > Severity.NOTE for each in found):
        return found
    return [ok("host.create", "a first login finds what it needs: the account line, NSS, sshaft-accounts"), *found]


def _policy() -> Policy | None:
    try:
        return read_policy(POLICY)
    except OSError:
        return None


def judge_stack(create: Create, stack: Stack) -> list[Finding]:
    """Checks that the agent sees the account line: without it the agent reserves no uid."""
    lines = stack_checks.ours(stack, "account")
    file = stack.files[0] if stack.files else Path("/etc/pam.d/sshd")
    if not lines:
        what = "create is set, and the stack has no account line of pam_sshaft.so: the agent makes no account"
        return [error("host.create", what, str(file), _ENABLE)]
    if Path(create.pam_file).resolve() not in [line.path.resolve() for line in lines]:
        what = f"create looks for the account line in {create.pam_file} (pam_file): the agent makes no account"
        return [error("host.create", what, lines[0].place, f'"pam_file": "{lines[0].path}" in create')]
    return []


def judge_settings(create: Create, settings: Effective) -> list[Finding]:
    """Checks the settings of sshd that count for a name without an account."""
    return [*_grace(create, settings), *_users(settings), *_groups(settings)]


def _grace(create: Create, settings: Effective) -> list[Finding]:
    grace, reserved = seconds(settings.get("LoginGraceTime", "120")), create.reservation_seconds
    if 0 < grace < reserved:
        return []
    what = f"LoginGraceTime is {grace:g} s: a login can last longer than the uid that is reserved for it, {reserved} s"
    right = f"LoginGraceTime above 0, and below reservation_seconds of create ({reserved})"
    return [error("host.reservation", what, settings.where("LoginGraceTime"), right)]


def _users(settings: Effective) -> list[Finding]:
    """Checks that AllowUsers has a pattern that a new name can fit."""
    words = [word for line in settings.all("AllowUsers") for word in line.split() if not word.startswith("!")]
    if not words or any(sign in word.partition("@")[0] for word in words for sign in "*?"):
        return []
    what = f"AllowUsers lists single accounts: a new name gets in only if it is one of the {len(words)}"
    return [warning("host.allowusers", what, settings.where("AllowUsers"), "AllowUsers with a pattern for new names")]


def _groups(settings: Effective) -> list[Finding]:
    """Checks the rules about groups. sshd refuses a name without a group if there is any, and a new name has none."""
    return [
        error(f"host.{keyword.lower()}", f"{keyword} refuses every first login: the account gets its groups later",
              settings.where(keyword), f"{right} in place of {keyword}")
        for keyword, right in (("AllowGroups", "AllowUsers"), ("DenyGroups", "DenyUsers"))
        if settings.all(keyword)
    ]  # fmt: skip
