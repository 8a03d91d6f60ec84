"""Ends the processes of an account. The account is locked before, so that no login starts new ones.

kill(2) sends a signal to all processes of a uid in one step, so none escapes by starting others.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sshaft_accounts import host
from sshaft_accounts.host import ToolError

GRACE = 2.0  # an editor writes its recovery file
ATTEMPTS, PAUSE = 5, 0.5  # a service of the host may start processes again


def running(user: str, uid: int) -> set[int]:
    """Returns the uids with which processes of the account run: its own, and those of its user namespaces.

    A process counts by its real, effective and saved uid, as for userdel(8), which refuses its account.
    """
    return {each for each in _uids_of_processes() if each == uid or _is_in_namespace_of(user, uid, each)}


def _uids_of_processes() -> set[int]:
    found = set[int]()
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            status = _status(path)
            if not status.get("State", "Z").startswith("Z"):  # such a process has ended, and waits for its parent
                found |= {int(uid) for uid in status["Uid"].split()[:3]}
    return found


def _status(path: Path) -> dict[str, str]:
    """Returns the lines of /proc/PID/status."""
    return dict(line.partition(":\t")[::2] for line in path.read_text("utf-8", "replace").split("\n"))


def _is_in_namespace_of(user: str, uid: int, other: int) -> bool:
    """Whether rootless containers of the account may use the other uid, and nobody else."""
    owners = host.owners_of_sub_uid(other)
    return bool(owners) and owners <= {user, str(uid)} and not host.names(other)


def end(user: str, uid: int) -> bool:
    """Asks the processes of the account to end, and then ends them. Returns whether none is left."""
    _signal(user, uid, signal.SIGHUP, signal.SIGTERM)
    _are_gone(user, uid, GRACE)
    for _ in range(ATTEMPTS):
        _signal(user, uid, signal.SIGKILL)
        if _are_gone(user, uid, PAUSE):
            return True
    return False


def _are_gone(user: str, uid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while running(user, uid):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _signal(user: str, uid: int, *signals: signal.Signals) -> None:
    unused = _unused_uid()
    for each in {uid, *running(user, uid)}:
        _send(each, unused, signals)


def _send(uid: int, unused: int, signals: Iterable[signal.Signals]) -> None:
    if not run_as(uid, lambda: _signal_all(uid, unused, signals), unused):
        raise ToolError("sessions: no signal was sent")


def run_as(uid: int, act: Callable[[], None], unused: int | None = None) -> bool:
    """Does `act` in a process with the rights of this uid to send signals. Returns whether it has done it.

    The kernel compares our real and effective uid with the real and saved uid of the others, and the same in return.
    So the processes of the account can neither stop nor kill this one.
    """
    unused = _unused_uid() if unused is None else unused
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setresuid(unused, uid, 0)
            if os.getresuid() == (unused, uid, 0) and _has_no_capabilities():
                act()
                status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def _signal_all(uid: int, unused: int, signals: Iterable[signal.Signals]) -> None:
    """Signals every process whose real or saved uid is this one."""
    if min(unused, uid) < 1000:  # the signal would reach the whole host
        raise ToolError("sessions: the uid is one of the system")
    for each in signals:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, each)


def _unused_uid() -> int:
    """Returns the highest uid of the host, or of its container. No process has it."""
    lines = [line.split() for line in Path("/proc/self/uid_map").read_text("ascii").splitlines()]
    highest = max(int(first) + int(count) - 1 for first, _, count in lines)
    if host.names(highest) or highest in _uids_of_processes():
        raise ToolError(f"sessions: the uid {highest} is in use")
    return highest


def _has_no_capabilities() -> bool:
    return int(_status(Path("/proc/self/status"))["CapEff"], 16) == 0
