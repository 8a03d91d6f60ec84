"""Remembers which identity an account belongs to: the first one that has logged in to it.

A name that is given to another person later, or a changed claim, so gives no access to the account of somebody else.
A map may give one account to several people; then each of them has a binding of their own.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sshaft_agent.host_login.database import Database

_TABLE = """
CREATE TABLE IF NOT EXISTS bindings (
    account TEXT NOT NULL,
    person TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    bound_at TEXT NOT NULL,
    PRIMARY KEY (account, person)
) STRICT, WITHOUT ROWID"""
_INDEX = "CREATE INDEX IF NOT EXISTS bindings_of_identity ON bindings (issuer, subject)"


@dataclass(frozen=True)
class Binding:
    """An identity of an account. `bound_at` is in ISO 8601, UTC.

    `person` is the value of the claim for which the map names the account. Empty: no map does, and the account has one
    identity.
    """

    account: str
    person: str
    issuer: str
    subject: str
    bound_at: str


def is_bound_to(bound: Sequence[Binding], issuer: str, subject: str) -> bool:
    """Whether one of the bindings of an account is that of the identity."""
    return any((each.issuer, each.subject) == (issuer, subject) for each in bound)


def is_free(bound: Sequence[Binding], person: str) -> bool:
    """Whether an account with these bindings can still be bound for this person."""
    return not any(person in ("", each.person) or not each.person for each in bound)


class Bindings:
    """The bindings. Safe for several threads and processes."""

    def __init__(self, directory: Path, *, busy_seconds: float = 3.0) -> None:
        """Makes the file if it is missing. Raises `ConfigurationError`.

        A method waits `busy_seconds` for another process that writes.
        """
        self._database = Database(directory, _TABLE, busy_seconds, _INDEX)
        self.path = self._database.path

    def bind(self, account: str, issuer: str, subject: str, now: datetime, person: str = "") -> bool:
        """Whether the account belongs to this identity. If it is free, it belongs to the identity from now on.

        `person` is that of `Binding`. It is on the disk when the method returns. Raises `DatabaseError`.
        """
        with self._database.transaction() as connection:
            bound = _bindings(connection, "WHERE account = ?", account)
            if is_bound_to(bound, issuer, subject):
                return True
            if not is_free(bound, person):
                return False
            row = account, person, issuer, subject, now.isoformat(timespec="seconds")
            connection.execute("INSERT INTO bindings VALUES (?, ?, ?, ?, ?)", row)
            return True

    def unbind(self, account: str) -> bool:
        """Forgets all identities of an account. Whether there was one. Raises `DatabaseError`."""
        with self._database.transaction() as connection:
            return connection.execute("DELETE FROM bindings WHERE account = ?", (account,)).rowcount > 0

    def of(self, account: str) -> list[Binding]:
        """Returns the bindings of an account. Raises `DatabaseError`."""
        with self._database.reading() as connection:
            return _bindings(connection, "WHERE account = ?", account)

    def of_identity(self, issuer: str, subject: str) -> list[Binding]:
        """Returns the bindings of an identity in the order of their accounts. Raises `DatabaseError`."""
        with self._database.reading() as connection:
            return _bindings(connection, "WHERE issuer = ? AND subject = ? ORDER BY account", issuer, subject)

    def all(self) -> list[Binding]:
        """Returns all bindings in the order of their accounts. Raises `DatabaseError`."""
        with self._database.reading() as connection:
            return _bindings(connection, "ORDER BY account, person")


def _bindings(connection: sqlite3.Connection, clause: str, *values: str) -> list[Binding]:
    return [Binding(*row) for row in connection.execute(f"SELECT * FROM bindings {clause}", values)]  # noqa: S608 - ours
