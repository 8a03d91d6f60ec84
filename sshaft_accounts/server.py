"""Serves the socket: one request and one answer per connection, one connection after the other."""

import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

from sshaft import messages
from sshaft_accounts.accounts import Done, Refused
from sshaft_accounts.requests import Request, RequestError, parse

SECONDS = 5.0  # for the whole request

Answer = Done | Refused
Handler = Callable[[Request, int], Answer]  # the request, and the uid of the process that asks


def serve(listening: socket.socket, may_ask: Callable[[int], bool], handle: Handler, idle: float | None) -> None:
    """Answers requests until none has come for `idle` seconds. `may_ask` judges the uid of a peer.

    The caller has blocked SIGTERM. It arrives only between two requests, so that no account is left half made.
    """
    listening.settimeout(idle)
    while True:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            return
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        with connection:
            _serve_one(connection, may_ask, handle)


def _serve_one(connection: socket.socket, may_ask: Callable[[int], bool], handle: Handler) -> None:
    try:
        connection.settimeout(SECONDS)
        uid = _peer_uid(connection)
        if may_ask(uid):
            connection.sendall(_answer(connection, uid, handle))
    except OSError as error:  # the agent went away; what it asked for is done, and it can ask again
        log(f"connection: {type(error).__name__}")


def _answer(connection: socket.socket, uid: int, handle: Handler) -> bytes:
    try:
        request = parse(*messages.decode(_read(connection)))
    except (messages.MessageError, RequestError) as error:
        log(f"refused: {error}")
        return messages.encode("refused", {"reason": str(error)})
    result = handle(request, uid)
    log(f"{request}: {result}")
    if isinstance(result, Refused):
        return messages.encode("refused", {"reason": result.reason})
    return messages.encode("done", {"uid": str(result.uid), "home": result.home, "shell": result.shell})


def _read(connection: socket.socket) -> bytes:
    """Returns one message, or what came until the time was up, the peer was done, or it was too long."""
    data = b""
    end = time.monotonic() + SECONDS
    while (
        not data.endswith(messages.END) and len(data) <= messages.MAX_MESSAGE and (left := end - time.monotonic()) > 0
    ):
        connection.settimeout(left)
        part = connection.recv(messages.MAX_MESSAGE)
        if not part:
            break
        data += part
    connection.settimeout(SECONDS)
    return data


def _peer_uid(connection: socket.socket) -> int:
    """Returns the uid of the process at the other end."""
    _pid, uid, _gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def log(text: str) -> None:
    """Writes one line of printable ASCII. systemd puts it into the journal."""
    line = "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text)
    sys.stderr.write(line + "\n")
