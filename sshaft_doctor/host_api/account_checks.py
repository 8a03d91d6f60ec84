"""Checks the account of host-api, which answers everybody: it must have no right that others lack."""

import stat
from collections.abc import Sequence
from pathlib import Path

from sshaft_doctor import paths
from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Finding, error, needs_root, ok

_CHECK = "api.account"
_USERADD = "useradd --system --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin"


def missing(name: str) -> Finding:
    what = f"no account {name}: host-api cannot run, and an agent with --api-user does not start"
    return error(_CHECK, what, "/etc/passwd", f"{_USERADD} {name}")


def examine(user: Account, private: Sequence[Path], agent: Account | None) -> list[Finding]:
    """Returns findings about the account. `private` are the files and folders that only the agent may read."""
    where = f"/etc/passwd, {user.name}"
    own = f"{_USERADD} sshaft-host-api; User=sshaft-host-api and --api-user sshaft-host-api"
    if user.uid == 0:
        return [error(_CHECK, f"{user.name} is root: strangers ask a program that may do all", where, own)]
    if agent is not None and user.uid == agent.uid:
        what = f"{user.name} is the account of the agent, too: a fault of host-api gives its secrets away"
        return [error(_CHECK, what, where, own)]
    found = [each for path in dict.fromkeys(private) for each in examine_private(path, user, agent)]
    if agent is not None and agent.uid != 0 and agent.gid in user.groups:
        what = f"{user.name} is in the group of {agent.name}: host-api can ask the agent for its status"
        found.append(error(_CHECK, what, where, f"gpasswd --delete {user.name} {agent.name}"))
    return found or [ok(_CHECK, f"{user.name} can read nothing that is for the agent alone")]


def examine_private(path: Path, user: Account, agent: Account | None) -> list[Finding]:
    """Checks that the account of host-api can neither read the file nor enter the folder."""
    try:
        *folders, last = paths.walk(path)
    except PermissionError:
        return [needs_root("api.secret", f"who can read {path}", str(path))]
    except OSError:
        return []  # there is nothing to read
    is_folder = stat.S_ISDIR(last.mode)
    if not all(each.lets(user, 1) for each in folders) or not last.lets(user, 1 if is_folder else 4):
        return []
    what = f"{user.name} can read {path} (mode {stat.S_IMODE(last.mode):04o}), which is for the agent alone"
    right = f"chown {agent.name if agent else 'sshaft'} {path} && chmod {'0700' if is_folder else '0400'} {path}"
    return [error("api.secret", what, str(path), right)]
