"""Opens a UNIX socket in the place of one that a killed program has left, and tells who the peer is (unix(7))."""

import errno
import os
import socket
import struct
from pathlib import Path

BACKLOG = 1024


class InUseError(OSError):
    """Another program listens at the path."""


def listen_at(path: Path, mode: int, gid: int | None = None) -> socket.socket:
    """Returns a listening socket with this mode and this group. Raises `InUseError` and other `OSError`."""
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # No other account can connect between bind and chmod: the kernel refuses a connect before listen().
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


def peer_uid(connection: socket.socket) -> int:
    """Returns the uid of the process at the other end (SO_PEERCRED). Raises `OSError`."""
    _pid, uid, _gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _remove_stale(path: Path) -> None:
    """Removes the socket of a killed program. Raises `InUseError` if a program still listens there."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not path.is_socket():  # bind() refuses a file or a pipe, which somebody else may need
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # the queue of a running program is full
    raise InUseError(errno.EADDRINUSE, "another program listens there")
