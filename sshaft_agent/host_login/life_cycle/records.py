"""Keeps one row for each account whose life the agent follows."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sshaft_agent.host_login.database import Database

_TABLE = """
CREATE TABLE IF NOT EXISTS life_cycle (
    account TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    suspended_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,
    expires_at INTEGER,
    last_login_at INTEGER,
    role_groups TEXT NOT NULL,
    is_managed INTEGER NOT NULL,
    to_do TEXT NOT NULL
) STRICT, WITHOUT ROWID"""

State = Literal["new", "active", "suspended", "locked"]
RECHECK, API, OPERATOR = "recheck", "api", "operator"
"""Who suspends accounts: a check between logins, the person or an admin by the HTTP API, an operator of this host."""


@dataclass(frozen=True)
class Record:
    """What has become of an account. Times are in seconds since 1970.

    `new`: it is being made, or it was made and nobody has logged in. `suspended`: `suspended_by` has decided so.
    `locked`: the account has expired, or nobody has used it for long. `role_groups` are the groups of this host that
    roles have given. `is_managed`: `sshaft-accounts` may change the account. `to_do` is the request that it has not
    answered yet: a kind, and the value of its other field.
    """

    account: str
    since: int
    state: State = "active"
    suspended_by: str = ""
    reason: str = ""
    expires_at: int | None = None
    last_login_at: int | None = None
    role_groups: frozenset[str] = frozenset()
    is_managed: bool = False
    to_do: str = ""


Change = Callable[[Record], Record]


class Records:
    """The rows. Safe for several threads and processes."""

    def __init__(self, directory: Path, *, busy_seconds: float = 3.0) -> None:
        """Makes the table if it is missing. Raises `ConfigurationError`. `busy_seconds` is that of `Bindings`."""
        self._database = Database(directory, _TABLE, busy_seconds)

    def of(self, account: str) -> Record | None:
        """Returns the row of an account. Raises `DatabaseError`."""
        with self._database.reading() as connection:
            return next(iter(_rows(connection, "WHERE account = ?", account)), None)

    def all(self) -> list[Record]:
        """Returns all rows in the order of their accounts. Raises `DatabaseError`."""
        with self._database.reading() as connection:
            return _rows(connection, "ORDER BY account")

    def change(self, account: str, now: int, change: Change) -> Record:
        """Returns the row after the change. It is on the disk. Raises `DatabaseError`."""
        with self._database.transaction() as connection:
            known = next(iter(_rows(connection, "WHERE account = ?", account)), None)
            changed = change(known or Record(account, now))
            if changed != known:
                connection.execute(
                    "INSERT OR REPLACE INTO life_cycle VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _values(changed)
                )
            return changed

    def forget(self, account: str) -> None:
        """Deletes the row of an account. Raises `DatabaseError`."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM life_cycle WHERE account = ?", (account,))


def _values(record: Record) -> tuple[object, ...]:
    return (
        record.account, record.state, record.suspended_by, record.reason, record.since, record.expires_at,
        record.last_login_at, ",".join(sorted(record.role_groups)), int(record.is_managed), record.to_do,
    )  # fmt: skip


def _rows(connection: sqlite3.Connection, clause: str, *values: str) -> list[Record]:
    columns = "account, since, state, suspended_by, reason, expires_at, last_login_at, role_groups, is_managed, to_do"
    rows = connection.execute(f"SELECT {columns} FROM life_cycle {clause}", values)  # noqa: S608 - ours
    return [
        replace(
            Record(*row), role_groups=frozenset(row[7].split(",")) - {""}, is_managed=bool(row[8])
        )
        for row in rows
    ]  # fmt: skip
