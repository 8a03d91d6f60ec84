"""Calls a function as another account. Root trusts no file that such an account can change.

A configuration could name a file of root as its secret, and an address that gets this secret.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sshaft_doctor import accounts
from sshaft_doctor.accounts import Account


class ChildError(Exception):
    """The function has returned nothing."""


def owner_of(path: Path) -> Account | None:
    """Returns the account that can change this file, or None if there is no such file."""
    try:
        return accounts.of_uid(path.stat().st_uid)
    except OSError:
        return None


def call(account: Account | None, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the result of the function, which is plain JSON. Raises `ChildError`.

    Only root can become another account: another user, and root for its own account, call the function directly.
    """
    if os.geteuid() != 0 or account is None or account.uid == 0:
        return function()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(account, function, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    try:
        result: dict[str, Any] = json.loads(data)
    except ValueError:
        raise ChildError(f"the check as {account.name} has failed") from None
    return result


def _answer(account: Account, function: Callable[[], dict[str, Any]], writing: int) -> None:
    """Writes the result into the pipe and ends this process."""
    try:
        os.setgroups(sorted(account.groups))
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(function()).encode())
    finally:
        os._exit(0)  # nothing of the parent is to end twice
