"""Remembers which identity an account belongs to: the first one that has logged in to it.

A name that is given to another person later, or a changed claim, so gives no access to the account of somebody else.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sshaft.errors import ConfigurationError, SshaftError

_TABLE = """
CREATE TABLE IF NOT EXISTS bindings (
    account TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    bound_at TEXT NOT NULL
) STRICT, WITHOUT ROWID"""


class BindingsError(SshaftError):
    """The database of this host cannot be read or written now."""

    code = "bindings_unavailable"


@dataclass(frozen=True)
class Binding:
    """The identity of an account. `bound_at` is in ISO 8601, UTC."""

    account: str
    issuer: str
    subject: str
    bound_at: str


class Bindings:
    """The bindings in one SQLite file. Safe for several threads and processes; each method opens the file anew."""

    def __init__(self, directory: Path, *, busy_seconds: float = 3.0) -> None:
        """Makes the file if it is missing. Raises `ConfigurationError`.

        A method waits `busy_seconds` for another process that writes.
        """
        self._busy_seconds = busy_seconds
        self.path = directory / "host-login.sqlite"
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with self._transaction() as connection:
                connection.execute(_TABLE)
        except (OSError, BindingsError) as error:
            raise ConfigurationError(f"{self.path}: {getattr(error, 'strerror', None) or error}") from None

    def bind(self, account: str, issuer: str, subject: str, now: datetime) -> bool:
        """Whether the account belongs to this identity. An account without one belongs to it from now on.

        It is on the disk when the method returns. Raises `BindingsError`.
        """
        with self._transaction() as connection:
            found = connection.execute("SELECT issuer, subject FROM bindings WHERE account = ?", (account,)).fetchone()
            if found is None:
                row = account, issuer, subject, now.isoformat(timespec="seconds")
                connection.execute("INSERT INTO bindings VALUES (?, ?, ?, ?)", row)
            return found in (None, (issuer, subject))

    def unbind(self, account: str) -> bool:
        """Forgets the identity of an account. Whether there was one. Raises `BindingsError`."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM bindings WHERE account = ?", (account,)).rowcount > 0

    def all(self) -> list[Binding]:
        """Returns all bindings in the order of their accounts. Raises `BindingsError`."""
        with self._transaction() as connection:
            return [Binding(*row) for row in connection.execute("SELECT * FROM bindings ORDER BY account")]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Opens a transaction that no other one disturbs. A failure changes nothing."""
        try:
            connection = sqlite3.connect(self.path, timeout=self._busy_seconds, isolation_level=None)
            with closing(connection), connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                yield connection
        except sqlite3.Error as error:
            raise BindingsError(f"{self.path}: {error}") from None
