"""Asks the agent one question. Imports built-in modules only: it is on the start-up path of every login.

The askpass of `sshaft ssh` asks its broker by the same function.
"""

import _socket
import posix

from sshaft import messages


class AgentUnavailableError(OSError):
    """The agent does not run, or gave no whole answer. The text says which, and what to do next."""


def ask(path: str, kind: str, fields: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Returns the kind and the fields of the answer of the agent that listens at `path`.

    Waits without a limit: the caller sets a deadline (SIGALRM). Raises `AgentUnavailableError`.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        connection.sendall(messages.encode(kind, fields))
        data = b""
        while not data.endswith(messages.END) and len(data) <= messages.MAX_MESSAGE:
            part = connection.recv(messages.MAX_MESSAGE)
            if not part:
                break
            data += part
        return messages.decode(data)
    except OSError as error:
        raise AgentUnavailableError(
            f"no agent answers at {path} ({error.strerror or error}): is `sshaft agent` running?"
        ) from error
    except messages.MessageError as error:
        raise AgentUnavailableError(f"the agent at {path} broke off its answer ({error})") from error
    finally:
        connection.close()


def ask_as_owner(path: str, kind: str, fields: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Asks as `ask` does; root asks as the owner of the socket. Root in a container may not pass its mode."""
    if posix.geteuid() != 0:
        return ask(path, kind, fields)
    try:
        owner = posix.stat(path)
    except OSError:
        return ask(path, kind, fields)
    try:
        posix.setegid(owner.st_gid)
        posix.seteuid(owner.st_uid)
    except OSError:
        pass  # root may not change its ids here
    try:
        return ask(path, kind, fields)
    finally:
        posix.seteuid(0)
        posix.setegid(0)
