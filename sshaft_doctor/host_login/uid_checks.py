"""Checks that nothing else on the host takes uids out of the range of `create`."""

import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sshaft_doctor.findings import Finding, error, note, warning
from sshaft_doctor.host_login.create import Create

_CHECK = "host.uids"
_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))
_LOGIN_DEFS = Path("/etc/login.defs")
_DEFAULTS = {"UID_MIN": 1000, "UID_MAX": 60000, "GID_MIN": 1000, "GID_MAX": 60000, "SUB_UID_MIN": 100000,
             "SUB_UID_MAX": 600100000, "SUB_GID_MIN": 100000, "SUB_GID_MAX": 600100000}  # fmt: skip
_PASSWD, _USERDB = Path("/etc/passwd"), Path("/etc/userdb")


def examine(create: Create) -> list[Finding]:
    """Returns findings about login.defs(5), subuid(5), and accounts of other sources."""
    found = judge_login_defs(create, _read(_LOGIN_DEFS))
    for path in _SUBORDINATE:
        found += judge_subordinate(create, _read(path), str(path))
    return [*found, *judge_others(create, _others())]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def judge_login_defs(create: Create, text: str) -> list[Finding]:
    """Checks that `useradd` and `groupadd` take no number from the range, for an account or for its containers."""
    read = {
        name: int(number) for name, number in re.findall(r"^[ \t]*([A-Z_]+)[ \t]+(\d+)[ \t\r]*$", text, re.MULTILINE)
    }
    values = {**_DEFAULTS, **read}
    return [
        warning(_CHECK, f"{what} takes {values[low]} to {values[high]}, which overlaps create: {_range(create)}",
                f"{_LOGIN_DEFS}, {low} and {high}", "give create other uids (uid_first, uid_last), and accounts.json")
        for what, low, high in (
            ("useradd", "UID_MIN", "UID_MAX"), ("groupadd", "GID_MIN", "GID_MAX"),
            ("useradd for containers (subuid)", "SUB_UID_MIN", "SUB_UID_MAX"),
            ("useradd for containers (subgid)", "SUB_GID_MIN", "SUB_GID_MAX"),
        )
        if values[low] <= create.uid_last and create.uid_first <= values[high]
    ]  # fmt: skip


def _range(create: Create) -> str:
    return f"{create.uid_first} to {create.uid_last}"


def judge_subordinate(create: Create, text: str, where: str) -> list[Finding]:
    """Checks how many uids of the range belong to containers (subuid(5)): such a uid is given to nobody."""
    left = [range(create.uid_first, create.uid_last + 1)]
    for taken in _ranges(text):
        left = [part for each in left for part in _without(each, taken) if part]
    count = sum(map(len, left))
    if count == create.uid_last - create.uid_first + 1:
        return []
    what = f"containers have uids of create, {_range(create)}: {count} of them are left for accounts"
    right = "give create other uids (uid_first, uid_last), and accounts.json"
    return [note(_CHECK, what, where, right) if count else error(_CHECK, what, where, right)]


def _ranges(text: str) -> Iterator[range]:
    for first, count in re.findall(r"^[^:\n]+:(\d+):(\d+)[ \t\r]*$", text, re.MULTILINE):
        yield range(int(first), int(first) + int(count))


def _without(whole: range, taken: range) -> tuple[range, range]:
    start, stop = max(whole.start, taken.start), min(whole.stop, taken.stop)
    if start >= stop:
        return whole, range(0)
    return range(whole.start, start), range(stop, whole.stop)


def _others() -> dict[str, int]:
    """Returns the accounts that neither /etc/passwd nor /etc/userdb has, of sources that list theirs."""
    own = {line.partition(":")[0] for line in _read(_PASSWD).splitlines()}
    return {
        each.pw_name: each.pw_uid
        for each in pwd.getpwall()
        if each.pw_name not in own and not (_USERDB / f"{each.pw_name}.user").exists()
    }


def judge_others(create: Create, others: Mapping[str, int]) -> list[Finding]:
    """Checks that no other source of accounts gives uids of the range."""
    names: Sequence[str] = sorted(name for name, uid in others.items() if create.uid_first <= uid <= create.uid_last)
    if not names:
        return []
    what = f"another source of accounts gives uids of create, {_range(create)}: {', '.join(names[:3])}"
    return [
        warning(_CHECK, what, "/etc/nsswitch.conf", "give create other uids (uid_first, uid_last), and accounts.json")
    ]
