"""Asks `sshaft-accounts`, which runs as root, to make and to change accounts."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from sshaft import messages
from sshaft.daemon.unix_socket import peer_uid
from sshaft.deadline import Deadline
from sshaft.errors import SshaftError
from sshaft.text import printable


class AccountsError(SshaftError):
    """The account was not changed, or nobody knows whether it was."""

    code = "accounts_unavailable"


class NotGrantedError(AccountsError):
    """`sshaft-accounts` refuses the request. `reason` begins with the field or the program at fault, and `:`."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def is_final(self) -> bool:
        """Whether the same request is refused later too: the account is not one that `sshaft-accounts` may change."""
        return self.reason.startswith("user:")


class UidRefusedError(NotGrantedError):
    """`sshaft-accounts` does not give this uid to anybody, now or later."""


@dataclass(frozen=True)
class Done:
    """The account after the change."""

    uid: int
    home: str
    shell: str


@dataclass(frozen=True)
class NewAccount:
    """What `create` asks for. An empty `shell` is that of accounts.json.

    `expires` is the first day on which nobody gets in, as in `2030-01-31`. Empty: the account never expires.
    """

    user: str
    uid: int
    gecos: str
    home: str
    shell: str = ""
    expires: str = ""

    def fields(self) -> dict[str, str]:
        needed = {"user": self.user, "uid": str(self.uid), "gecos": self.gecos, "home": self.home}
        return needed | {name: value for name in ("shell", "expires") if (value := getattr(self, name))}


def create(path: Path, account: NewAccount, deadline: Deadline) -> str:
    """Makes the account, or finds it made by an earlier question. Returns its shell. It blocks.

    Raises `AccountsError`.
    """
    try:
        done = ask(path, "create", account.fields(), deadline)
    except NotGrantedError as error:
        if error.reason.startswith("uid:"):
            raise UidRefusedError(str(error), error.reason) from None
        raise
    if done.uid != account.uid:
        raise AccountsError(f"sshaft-accounts gave {account.user} the uid {done.uid} instead of {account.uid}")
    return done.shell


def ask(path: Path, kind: str, fields: dict[str, str], deadline: Deadline) -> Done:
    """Returns the account after the request. An agent that got no answer may send it again. It blocks.

    Raises `NotGrantedError` if `sshaft-accounts` refuses, and `AccountsError` if it gives no usable answer.
    """
    try:
        answered, answer = messages.decode(_exchange(path, messages.encode(kind, fields), deadline))
    except (OSError, messages.MessageError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AccountsError(f"{path}: sshaft-accounts does not answer: {reason}") from None
    if answered == "done" and answer.get("uid", "").isdecimal():
        return Done(int(answer["uid"]), answer.get("home", ""), answer.get("shell", ""))
    if answered == "refused":
        reason = printable(answer.get("reason", ""))
        raise NotGrantedError(f"sshaft-accounts refused {kind} for {printable(fields['user'])}: {reason}", reason)
    raise AccountsError(f"{path}: sshaft-accounts gave no usable answer to {kind}: {printable(answered)}")


def silence(path: Path, deadline: Deadline) -> str:
    """Returns why `sshaft-accounts` would do nothing for this process, or an empty text. It blocks.

    It asks for no change of root: this is refused by a program that works, and by its accounts.json if it is wrong.
    """
    try:
        ask(path, "groups", {"user": "root"}, deadline)
    except NotGrantedError as error:
        return "" if error.is_final else f"sshaft-accounts says: {error.reason}"
    except AccountsError as error:
        return str(error)
    return "sshaft-accounts takes root for an account of its own"


def _exchange(path: Path, question: bytes, deadline: Deadline) -> bytes:
    """Returns the whole answer. Only root may listen there: its answer lets somebody in."""
    data = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(deadline.remaining(), 0.001))
        connection.connect(str(path))
        if peer_uid(connection) not in (0, os.geteuid()):
            raise PermissionError("another account than root listens there")
        connection.sendall(question)
        while not data.endswith(messages.END) and len(data) <= messages.MAX_MESSAGE:
            connection.settimeout(max(deadline.remaining(), 0.001))
            part = connection.recv(messages.MAX_MESSAGE)
            if not part:
                break
            data += part
    return data
