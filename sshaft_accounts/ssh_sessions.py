"""Ends single ssh sessions of an account, and leaves the account and its other sessions as they are.

A session is the process of sshd that serves one connection (root's, and it leads a session), and what runs below it:
its descendants, and the processes that systemd or the audit system counts to the same login. The agent names the
process and its start. The process must have a child of sshd that runs as the account. So nobody else's session ends.
"""

import contextlib
import os
import pwd
import re
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sshaft_accounts import sessions
from sshaft_accounts.host import ToolError
from sshaft_accounts.requests import Leader

FIRST_UID = 1000
"""The accounts of the system are below it."""
_SSHD = ("sshd", "sshd-session")
_NO_LOGIN = 2**32 - 1  # what /proc/PID/sessionid and loginuid say of a process that belongs to no login
_SCOPE = re.compile(r"[0-9]+:[^:]*:(/.*user-([0-9]+)\.slice/session-[^/]+\.scope)")
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process, as /proc has it. `uids`: real, effective and saved.

    `logins` are the names of the login that it belongs to, by systemd and by the audit system, each with the uid of the
    login.
    """

    pid: int
    name: str
    parent: int
    leads: bool
    began: int
    uids: frozenset[int]
    logins: Mapping[str, int]


Processes = Mapping[int, Process]


def uid_of(user: str) -> int | None:
    """Returns the uid of a person's account, of any source of names. None: root, the system's, or nobody's."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
    return uid if uid >= FIRST_UID and uid != 65534 else None


def end(uid: int, leaders: Iterable[Leader]) -> bool:
    """Asks the processes of these sessions to end, and then ends them. Returns whether none is left.

    A session that is not there any more, or not the account's, is left out. Raises `ToolError`.
    """
    ending = _Sessions(uid, tuple(leaders))
    ending.signal(signal.SIGHUP, signal.SIGTERM)
    ending.are_gone(sessions.GRACE)
    for _ in range(sessions.ATTEMPTS):
        ending.signal(signal.SIGKILL)
        if ending.are_gone(sessions.PAUSE):
            return True
    return False


class _Sessions:
    """The sessions while they end. What was found once stays known: a process whose parent has ended moves away."""

    def __init__(self, uid: int, leaders: tuple[Leader, ...]) -> None:
        all_ = processes()
        own = [leader for leader in leaders if belongs(all_, leader, uid)]
        self._known = {(leader.pid, leader.began) for leader in own}
        self._logins = {login for leader in own for login in _own_logins(all_, all_[leader.pid], uid)}

    def _members(self) -> list[Process]:
        all_ = processes()
        while True:
            found = {
                (each.pid, each.began)
                for each in all_.values()
                if self._logins & each.logins.keys() or self._has_known_parent(all_, each)
            } - self._known
            if not found:
                return [each for each in all_.values() if (each.pid, each.began) in self._known]
            self._known |= found

    def _has_known_parent(self, all_: Processes, each: Process) -> bool:
        parent = all_.get(each.parent)
        return parent is not None and (parent.pid, parent.began) in self._known

    def are_gone(self, seconds: float) -> bool:
        end_at = time.monotonic() + seconds
        while self._members():
            if time.monotonic() > end_at:
                return False
            time.sleep(0.02)
        return True

    def signal(self, *signals: signal.Signals) -> None:
        members = self._members()
        for uid in {min(each.uids) for each in members}:
            _send(uid, [each for each in members if min(each.uids) == uid], signals)


def belongs(all_: Processes, leader: Leader, uid: int) -> bool:
    """Whether this is the process of sshd that serves a connection of the account."""
    found = all_.get(leader.pid)
    if found is None or found.began != leader.began or not found.leads or found.uids != {0} or found.name not in _SSHD:
        return False
    children = [each for each in all_.values() if each.parent == found.pid and each.name in _SSHD]
    return any(each.uids == {uid} for each in children) and all(each.uids == {uid} for each in children)


def _own_logins(all_: Processes, leader: Process, uid: int) -> set[str]:
    """Returns the names of the login of this connection. An sshd that was started by hand is in a login itself."""
    parent = all_.get(leader.parent)
    others = set() if parent is None else parent.logins.keys()
    return {name for name, of in leader.logins.items() if of == uid and name not in others}


def processes() -> dict[int, Process]:
    """Returns the processes that run now. A process that has ended, and waits for its parent, is none."""
    found = {}
    for path in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if (each := _read(path)) is not None:
                found[each.pid] = each
    return found


def _read(path: Path) -> Process | None:
    begin, _, rest = (path / "stat").read_text("utf-8", "replace").rpartition(")")
    fields = rest.split()  # proc(5): the first one is the third field, the state
    if fields[0] in "ZX":
        return None
    status = (path / "status").read_text("utf-8", "replace")
    uids = next(line for line in status.split("\n") if line.startswith("Uid:")).split()[1:4]
    pid = int(path.name)
    began = int(fields[19]) * 1000 // os.sysconf("SC_CLK_TCK")
    name, logins = begin.partition("(")[2], {**_scope(path), **_audit(path)}
    return Process(pid, name, int(fields[1]), int(fields[3]) == pid, began, frozenset(map(int, uids)), logins)


def _scope(path: Path) -> dict[str, int]:
    """Returns the control group that systemd-logind has made for the login: `/.../user-1000.slice/session-3.scope`."""
    for line in (path / "cgroup").read_text("utf-8", "replace").split("\n"):
        if found := _SCOPE.fullmatch(line):
            return {found[1]: int(found[2])}
    return {}


def _audit(path: Path) -> dict[str, int]:
    """Returns the number that pam_loginuid has given to the login. Nobody can change it afterwards."""
    try:
        number, uid = (int((path / name).read_text("ascii")) for name in ("sessionid", "loginuid"))
    except (OSError, ValueError):  # a kernel without audit
        return {}
    return {} if _NO_LOGIN in (number, uid) else {f"audit {number}": uid}


# --- signals


def _send(uid: int, members: list[Process], signals: Iterable[signal.Signals]) -> None:
    """Signals these processes as their own user, so that this program needs no right to signal others."""
    descriptors = [each for each in map(_descriptor, members) if each is not None]
    try:
        if uid == 0:
            _signal_each(descriptors, signals)
        elif not sessions.run_as(uid, lambda: _signal_each(descriptors, signals)):
            raise ToolError("sessions: no signal was sent")
    finally:
        for each in descriptors:
            os.close(each)


def _descriptor(process: Process) -> int | None:
    """Opens the process, if its number has not been given to another one."""
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        descriptor = os.pidfd_open(process.pid)
        with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
            now = _read(_PROC / str(process.pid))
            if now is not None and now.began == process.began:
                return descriptor
        os.close(descriptor)
    return None


def _signal_each(descriptors: list[int], signals: Iterable[signal.Signals]) -> None:
    for descriptor in descriptors:
        for number in signals:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(descriptor, number)
