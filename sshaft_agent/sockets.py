"""Opens the agent's sockets with the right owners and modes."""

import os
import pwd
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from sshaft.authorized_keys import is_safe_word
from sshaft.daemon.unix_socket import InUseError, listen_at
from sshaft.errors import ConfigurationError

DEFAULT_DIRECTORY = Path("/run/sshaft")


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int


ROOT = Account("root", 0, 0)


def account(name: str | None) -> Account:
    """Returns the account of this name, or the account of this process. Raises `ConfigurationError`."""
    try:
        entry = pwd.getpwnam(name) if name is not None else pwd.getpwuid(os.geteuid())
    except KeyError:
        if name is None:
            return Account(str(os.geteuid()), os.geteuid(), os.getegid())
        raise ConfigurationError(f"no account named {name!r} on this host") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def keys_path(directory: Path) -> Path:
    return directory / "keys" / "agent.sock"


def login_path(directory: Path, *, is_successor: bool = False) -> Path:
    """Returns where this agent takes logins. A successor has a path of its own.

    The key lines name it, so each login comes back to the agent that knows its ticket.
    """
    return directory / "login" / (f"agent.{os.getpid()}.sock" if is_successor else "agent.sock")


def host_path(directory: Path) -> Path:
    return directory / "host" / "agent.sock"


def names_path(directory: Path) -> Path:
    return directory / "host" / "names.sock"


def api_path(directory: Path) -> Path:
    return directory / "api" / "agent.sock"


def status_path(directory: Path) -> Path:
    return directory / "status.sock"


def make_directory(directory: Path) -> None:
    """Makes the runtime directory, which every account may pass and only the agent may change.

    Raises `ConfigurationError` if another account could replace the files in it.
    """
    if not directory.is_absolute() or not is_safe_word(str(directory)):
        raise ConfigurationError(f"{directory}: must be an absolute path of letters, digits and ._@+/:-")
    try:
        directory.mkdir(mode=0o755, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise ConfigurationError(
            f"{directory}: {error.strerror}; make it for the agent's account: "
            f"install -d -m 0755 -o {account(None).name} {directory}"
        ) from None
    loose = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    if status.st_uid not in (0, os.geteuid()) or loose:
        raise ConfigurationError(f"{directory}: somebody else may write there; it must belong to us or to root")


def listen_for(user: Account | None, path: Path) -> socket.socket:
    """Returns a listening socket at `path`. Raises `ConfigurationError`.

    Only the agent and `user` can enter the socket's directory. The agent must be root or in the group of `user`, unless
    that is root, who can enter every directory.
    Without a `user`, root and the agent's group can connect.
    """
    try:
        if user is None:
            return listen_at(path, 0o660)
        own = user.uid in (0, os.geteuid())
        _make_user_directory(path.parent, None if own else user)
        return listen_at(path, 0o600 if own else 0o660, None if own else user.gid)
    except InUseError:
        raise ConfigurationError(f"{path}: another agent is running there (see `sshaft agent status`)") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


def _make_user_directory(directory: Path, user: Account | None) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise ConfigurationError(f"{directory}: belongs to somebody else; remove it and start the agent again")
    if user is not None:
        _give_to_group(directory, user)
    directory.chmod(0o700 if user is None else 0o710)


def _give_to_group(path: Path, user: Account) -> None:
    try:
        os.chown(path, -1, user.gid)
    except PermissionError:
        raise ConfigurationError(
            f"{path}: the agent's account {account(None).name} is not in the group of {user.name} (gid {user.gid}): "
            f"usermod -aG {user.name} {account(None).name}"
        ) from None
