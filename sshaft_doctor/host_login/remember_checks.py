"""Examines whether sshd asks for a key before an approval that may be remembered (`host_login.approval.remember`)."""

from typing import Any

from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Finding, note, warning

_CHECK = "host.remember"
_RIGHT = "AuthenticationMethods publickey,keyboard-interactive:pam"


def mode(host_login: dict[str, Any]) -> str:
    """Returns `off`, `keys`, or `everybody`: whose approvals are remembered."""
    approval = host_login.get("approval")
    if not isinstance(approval, dict) or approval.get("remember") is None:
        return "off"
    return "everybody" if approval.get("remember_without_key") is True else "keys"


def examine(mode: str, settings: Effective) -> list[Finding]:
    """Returns a finding if sshd lets people come to the approval without a key."""
    value = settings.get("AuthenticationMethods", "any").lower()
    if mode == "off" or not _comes_without_key(value):
        return []
    where = settings.where("AuthenticationMethods")
    if mode == "everybody":
        what = (
            f"AuthenticationMethods is {value}, and remember_without_key is on: for hours after an approval, everybody "
            "at the same address opens that account without any proof"
        )
        return [warning(_CHECK, what, where, _RIGHT)]
    what = f"AuthenticationMethods is {value}: approvals of logins without a key are not remembered"
    return [note(_CHECK, what, where, _RIGHT)]


def _comes_without_key(value: str) -> bool:
    """Whether one of the lists asks PAM, and asks for no key before."""
    ways = ["keyboard-interactive"] if value == "any" else value.split()
    return any("keyboard-interactive" in way and "publickey" not in way.partition("keyboard")[0] for way in ways)
