"""Opens the SQLite file in the agent's state directory: who has which account, and which uids are reserved."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sshaft.errors import ConfigurationError, SshaftError

_TURN = threading.Lock()
"""One thread of this process has a transaction at a time. SQLite lets a waiter try again at longer and longer
intervals: a stranger who invents names could keep the login of a person waiting."""


class DatabaseError(SshaftError):
    """The database of this host cannot be read or written now."""

    code = "bindings_unavailable"


@dataclass(frozen=True)
class _Open:
    """A connection, the file that it is to, and how long it waits."""

    connection: sqlite3.Connection
    path: Path
    file: tuple[int, int] | None
    busy_seconds: float

    def is_to(self, path: Path, busy_seconds: float) -> bool:
        """Whether it is to the file that is there now. An operator may have replaced it."""
        is_same = (self.path, self.busy_seconds) == (path, busy_seconds)
        return is_same and self.file is not None and self.file == _file(path)

    def __del__(self) -> None:
        self.connection.close()


def _file(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - one call for both facts
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _Kept(threading.local):
    """The connection of each thread. To open one costs ten times as much as a look-up."""

    open: _Open | None = None


_KEPT = _Kept()


class Database:
    """One SQLite file. Safe for several threads and processes. A file that was replaced is opened anew."""

    def __init__(self, directory: Path, table: str, busy_seconds: float, index: str = "") -> None:
        """Makes the file, the table and its index if they are missing. Raises `ConfigurationError`.

        A transaction waits `busy_seconds` for another process that writes.
        """
        self._busy_seconds = busy_seconds
        self.path = directory / "host-login.sqlite"
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with self.transaction() as connection:
                connection.execute(table)
                connection.execute(index)
        except (OSError, DatabaseError) as error:
            raise ConfigurationError(f"{self.path}: {getattr(error, 'strerror', None) or error}") from None

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Opens a transaction that no other one disturbs. A failure changes nothing. Raises `DatabaseError`.

        What the body has written is on the disk afterwards.
        """
        with self.reading() as connection, connection:
            connection.execute(f"BEGIN {kind}")
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Opens the file for one SELECT, which is its own transaction. Raises `DatabaseError`."""
        try:
            with _TURN:
                yield self._connection()
        except sqlite3.Error as error:
            _KEPT.open = None
            raise DatabaseError(f"{self.path}: {error}") from None

    def _connection(self) -> sqlite3.Connection:
        """Returns the connection of this thread. A `with` of it commits."""
        if _KEPT.open is None or not _KEPT.open.is_to(self.path, self._busy_seconds):
            connection = sqlite3.connect(  # the end of the process may close it in another thread
                self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
            )
            _KEPT.open = _Open(connection, self.path, _file(self.path), self._busy_seconds)
            connection.execute("PRAGMA synchronous = FULL")
        return _KEPT.open.connection
