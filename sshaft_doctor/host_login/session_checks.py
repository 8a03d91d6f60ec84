"""Examines whether the agent hears of sessions that it reports to the identity service, and can have them ended."""

import stat
from pathlib import Path

from sshaft_doctor.findings import Finding, warning
from sshaft_doctor.host_login import stack_checks
from sshaft_doctor.host_login.create import Create
from sshaft_doctor.host_login.pam_stack import Stack

_CHECK = "host.sessions"
_START = "write {} to /etc/sshaft/accounts.json; systemctl enable --now sshaft-accounts.socket"


def examine(stack: Stack, create: Create | None) -> list[Finding]:
    """Returns a finding for each of the two that is missing. `create` is that of `HostLogin`."""
    found = []
    if stack.files and not stack_checks.ours(stack, "session"):
        what = (
            "the stack has no session line of pam_sshaft.so: nobody hears who is logged in, and no revocation ends it"
        )
        found.append(warning(_CHECK, what, str(stack.files[0]), "sshaft host enable, and its other options"))
    socket = Path((create or Create()).socket)
    if not _is_socket(socket):
        what = "sshaft-accounts does not listen there: a revocation at the identity service ends no session"
        found.append(warning(_CHECK, what, str(socket), _START))
    return found


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False
