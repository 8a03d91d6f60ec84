"""The agent's sockets: where they are, who can reach them, and who is at the other end (SO_PEERCRED, unix(7))."""

import os
import pwd
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from sshaft.authorized_keys import is_safe_word
from sshaft.errors import ConfigurationError

DEFAULT_DIRECTORY = Path("/run/sshaft")
BACKLOG = 1024


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int


def account(name: str | None) -> Account:
    """The account by this name, or the one that runs this process."""
    try:
        entry = pwd.getpwnam(name) if name is not None else pwd.getpwuid(os.geteuid())
    except KeyError:
        if name is None:
            return Account(str(os.geteuid()), os.geteuid(), os.getegid())
        raise ConfigurationError(f"no account named {name!r} on this host") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def keys_path(directory: Path) -> Path:
    return directory / "keys" / "agent.sock"


def login_path(directory: Path) -> Path:
    return directory / "login" / "agent.sock"


def status_path(directory: Path) -> Path:
    return directory / "status.sock"


def make_directory(directory: Path) -> None:
    """The runtime directory itself: everybody may pass through, only we may add to it.

    Raises `ConfigurationError` where somebody else could replace what is in it.
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


def listen_for(user: Account, path: Path) -> socket.socket:
    """A listening socket at `path` in a directory that only we and `user` can enter.

    We own the directory; its group is the user's own, and we must be a member of it (or root) to give it away.
    """
    directory = path.parent
    own = user.uid == os.geteuid()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = os.lstat(directory)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise ConfigurationError(f"{directory}: belongs to somebody else; remove it and start the agent again")
        if not own:
            _give_to_group(directory, user)
        directory.chmod(0o700 if own else 0o710)
        return _bind(path, 0o600 if own else 0o660, None if own else user.gid)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


def listen_for_status(path: Path) -> socket.socket:
    """Open to all in the file system: root without its capabilities could not reach it otherwise. Uid decides."""
    try:
        return _bind(path, 0o666, None)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


def peer_uid(connection: socket.socket) -> int:
    _pid, uid, _gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _give_to_group(path: Path, user: Account) -> None:
    try:
        os.chown(path, -1, user.gid)
    except PermissionError:
        raise ConfigurationError(
            f"{path}: the agent's account {account(None).name} is not in the group of {user.name} (gid {user.gid}): "
            f"usermod -aG {user.name} {account(None).name}"
        ) from None


def _bind(path: Path, mode: int, gid: int | None) -> socket.socket:
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    # Nobody gets in between bind and chmod: until listen() below a connect is refused.
    try:
        listening.bind(str(path))
        if gid is not None:
            os.chown(path, -1, gid)
        path.chmod(mode)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def _remove_stale(path: Path) -> None:
    """Remove what a killed agent left; refuse where one is alive."""
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(1)
        try:
            trial.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except (TimeoutError, BlockingIOError):
            pass  # its queue is full: very much alive
    raise ConfigurationError(f"{path}: another agent is running there (see `sshaft agent status`)")
