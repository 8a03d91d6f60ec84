"""Keeps the remembered approvals in the agent's database."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

from sshaft_agent.host_login.database import Database
from sshaft_agent.host_login.remembered.entries import Circumstances, Entry

_TABLE = """
CREATE TABLE IF NOT EXISTS remembered (
    id TEXT NOT NULL PRIMARY KEY,
    approval TEXT NOT NULL,
    origin TEXT NOT NULL,
    account TEXT NOT NULL,
    service TEXT NOT NULL,
    network TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    claims TEXT NOT NULL,
    approved_at INTEGER NOT NULL,
    until INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    UNIQUE (account, service, network, fingerprint)
) STRICT, WITHOUT ROWID"""
_SAME = "account = ? AND service = ? AND network = ? AND fingerprint = ?"
MOST = 2000
"""One report to the identity service has room for them, and for many sessions."""
MOST_OF_ACCOUNT = 20


class Store:
    """The rows. Safe for several threads and processes. Each method raises `DatabaseError`."""

    def __init__(self, directory: Path, *, busy_seconds: float = 3.0) -> None:
        """Makes the table if it is missing. Raises `ConfigurationError`. `busy_seconds` is that of `Bindings`."""
        self._database = Database(directory, _TABLE, busy_seconds)

    def of(self, circumstances: Circumstances) -> Entry | None:
        """Returns what is remembered for such a login."""
        with self._database.reading() as connection:
            return next(iter(_entries(connection, f"WHERE {_SAME}", *astuple(circumstances))), None)

    def all(self) -> list[Entry]:
        """Returns all in the order of their accounts."""
        with self._database.reading() as connection:
            return _entries(connection, "ORDER BY account, approved_at, id")

    def add(self, entry: Entry) -> bool:
        """Writes an approval in place of an older one of the same circumstances. False: there is no room.

        An account has room for a few. The one that was used least recently goes.
        """
        with self._database.transaction() as connection:
            connection.execute(f"DELETE FROM remembered WHERE {_SAME}", astuple(entry.circumstances))  # noqa: S608
            account = entry.circumstances.account
            connection.execute(
                "DELETE FROM remembered WHERE id IN (SELECT id FROM remembered WHERE account = ?"
                " ORDER BY used_at DESC, id LIMIT -1 OFFSET ?)",
                (account, MOST_OF_ACCOUNT - 1),
            )
            if connection.execute("SELECT count(*) FROM remembered").fetchone()[0] >= MOST:
                return False
            connection.execute(f"INSERT INTO remembered VALUES ({', '.join('?' * 13)})", _values(entry))  # noqa: S608
            return True

    def used(self, entry_id: str, now: int) -> None:
        """Writes when an approval was last used."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE remembered SET used_at = ? WHERE id = ?", (now, entry_id))

    def remove(self, ids: Iterable[str]) -> int:
        """Forgets these approvals. Returns how many there were."""
        with self._database.transaction() as connection:
            return sum(connection.execute("DELETE FROM remembered WHERE id = ?", (each,)).rowcount for each in ids)


def _values(entry: Entry) -> tuple[object, ...]:
    return (
        entry.id, entry.approval, entry.origin, *astuple(entry.circumstances), entry.issuer, entry.subject,
        json.dumps(entry.claims), entry.approved_at, entry.until, entry.used_at,
    )  # fmt: skip


def _entries(connection: sqlite3.Connection, clause: str, *values: object) -> list[Entry]:
    columns = (
        "id, approval, origin, account, service, network, fingerprint, issuer, subject, claims, "
        "approved_at, until, used_at"
    )
    rows = connection.execute(f"SELECT {columns} FROM remembered {clause}", values)  # noqa: S608 - ours
    return [_entry(*row) for row in rows]


def _entry(*row: Any) -> Entry:
    identifier, approval, origin, account, service, network, fingerprint, issuer, subject, claims, *times = row
    seen = Circumstances(account, service, network, fingerprint)
    approved_at, until, used_at = times
    return Entry(identifier, approval, origin, seen, issuer, subject, json.loads(claims), approved_at, until, used_at)
