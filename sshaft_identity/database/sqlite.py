"""SQLite, the default: one file, one writer at a time, readers that never wait (WAL)."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from sshaft_identity.common.errors import DatabaseError

LOCK_WAIT_SECONDS = 5


def new_engine(url: URL) -> Engine:
    """Makes the file if there is none, for its owner only. Raises `DatabaseError`."""
    engine = create_engine(url, hide_parameters=True)
    if url.database:
        _create_private(Path(url.database))
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _create_private(path: Path) -> None:
    try:
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be opened: {error.strerror}") from error


def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver starts no transactions of its own; _on_begin does
    for pragma in (f"busy_timeout = {LOCK_WAIT_SECONDS * 1000}", "journal_mode = WAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    """A writer takes the one write lock at once, so that it never finds in its middle that somebody was faster. Who
    only reads begins nothing: a statement sees the latest commit.
    """
    options = connection.get_execution_options()
    if options.get("writes", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif options.get("snapshot", False):
        connection.exec_driver_sql("BEGIN")


def is_stale(_connection: object) -> bool:
    """A file goes nowhere."""
    return False


class WriteLock:
    """One thread after the other. Who waits longer than `seconds` gets what SQLite says."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._seconds):
            raise OperationalError("BEGIN IMMEDIATE", None, sqlite3.OperationalError("database is locked"))

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class SharedTransaction:
    """The writes of one thread that share a transaction: it begins with the first of them and ends with `stack`. Once
    it is `lost`, so is everything that was written in it, and nothing more is.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.connection: Connection | None = None
        self.lost: Exception | None = None
        self._stack = stack

    @contextmanager
    def part(self, begin: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Connection]:
        """One write: undone alone by an exception, unless SQLite undoes the whole transaction (the disk is full)."""
        if self.lost is not None:
            raise self.lost
        try:
            connection = self.connection = self.connection or self._stack.enter_context(begin())
            _say(connection, "SAVEPOINT part")
        except Exception as error:
            self.lost = error
            raise
        try:
            yield connection
        except BaseException:
            self._end(connection, "ROLLBACK TO part", "RELEASE part")
            raise
        self._end(connection, "RELEASE part")
        if self.lost is not None:
            raise self.lost

    def _end(self, connection: Connection, *statements: str) -> None:
        try:
            for statement in statements:
                _say(connection, statement)
        except OperationalError as error:  # there is no such savepoint any more
            self.lost = error


def _say(connection: Connection, statement: str) -> None:
    """Straight to the driver: this is said for every write, and takes SQLAlchemy longer than SQLite."""
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute(statement)
    except sqlite3.Error as error:
        raise OperationalError(statement, None, error) from error
