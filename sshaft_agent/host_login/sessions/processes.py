"""Finds out whether the process of sshd that serves a connection still runs."""

import os
from pathlib import Path

_PROC = Path("/proc")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Returns a text that changes with each start of the machine. Empty: the host does not say it."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return ""


def is_alive(connection: str) -> bool:
    """Whether this process runs: `PID:BEGAN`, with its start in milliseconds since the start of the machine.

    Where the agent may not see the processes of others (`ProtectProc`), any process with this number counts. Then
    `sshaft-accounts` finds out before it ends anything.
    """
    pid, began = map(int, connection.split(":"))
    try:
        fields = (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return _exists(pid)
    # proc(5): the first one is the third field, the state
    return fields[0] not in "ZX" and int(fields[19]) * 1000 // os.sysconf("SC_CLK_TCK") == began


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
