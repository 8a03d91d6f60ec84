"""Checks PerSourcePenalties: OpenSSH 9.8 and later block an address for a while after failed logins.

A person who runs ssh before the web login waits has failed once, and many people may share one address.
"""

import re

from sshaft.openssh_version import Version
from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Finding, note, warning

SINCE = Version(9, 8)
LINE = "PerSourcePenalties authfail:1s noauth:1s grace-exceeded:10s max:300s"
_DEFAULT_AUTHFAIL = 5.0
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def check(settings: Effective, version: Version | None, who: str = "come too early") -> list[Finding]:
    """Returns a finding if a few failed logins block an address. `who` says which people fail."""
    value = settings.get("PerSourcePenalties").lower()
    if version is None or version < SINCE or value == "no":
        return []
    seconds = authfail(value)
    if seconds <= 1:
        return []
    what = (
        f"each failed login blocks its address for {seconds:g} s: a few people who {who} lock out everybody "
        "behind that address"
    )
    where = settings.where("PerSourcePenalties")
    if settings.get("PerSourcePenaltyExemptList", "none").lower() not in ("none", ""):
        return [note("sshd.penalties", f"{what} (but those in PerSourcePenaltyExemptList)", where, LINE)]
    return [warning("sshd.penalties", what, where, LINE)]


def authfail(value: str) -> float:
    """Returns the seconds that a failed login costs. sshd -T prints them as `5`, `5.000000` or `5s`."""
    found = re.search(r"(?:^|\s)authfail:(\d+(?:\.\d+)?)([smhdw]?)(?=\s|$)", value)
    return float(found[1]) * _UNITS[found[2]] if found else _DEFAULT_AUTHFAIL
