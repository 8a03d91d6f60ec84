"""Opens SQLite, the default database: one file, one writer at a time, and readers that never wait (WAL)."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from sshaft_identity.common.errors import DatabaseError

LOCK_WAIT_SECONDS = 5
POOL_SIZE, POOL_TIMEOUT_SECONDS = 20, 5


def new_engine(url: URL) -> Engine:
    """Returns an engine. Makes a missing file, for its owner only. Raises `DatabaseError`."""
    engine = create_engine(url, hide_parameters=True, pool_size=POOL_SIZE, pool_timeout=POOL_TIMEOUT_SECONDS)
    _create_private(Path(url.database or ""))
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def copy(source: Path, target: Path) -> None:
    """Copies a database into a new file for its owner only, also while others use it. Raises `DatabaseError`."""
    target.unlink(missing_ok=True)
    _create_private(target)
    try:
        with (
            closing(sqlite3.connect(source, timeout=LOCK_WAIT_SECONDS)) as original,
            closing(sqlite3.connect(target)) as made,
        ):
            original.backup(made)
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise DatabaseError(f"{source} cannot be copied to {target}: {error}") from error


def _create_private(path: Path) -> None:
    try:
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be opened: {error.strerror}") from error


def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver starts no transactions; _on_begin does
    for pragma in (f"busy_timeout = {LOCK_WAIT_SECONDS * 1000}", "journal_mode = WAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    """Takes the write lock at the start of a writing transaction, so that a commit never meets a conflict.

    A reader begins no transaction: each statement sees the latest commit.
    """
    options = connection.get_execution_options()
    if options.get("writes", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif options.get("snapshot", False):
        connection.exec_driver_sql("BEGIN")


class WriteLock:
    """Lets one thread write after the other. After `seconds` of waiting raises the error that SQLite raises."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._seconds):
            raise OperationalError("BEGIN IMMEDIATE", None, sqlite3.OperationalError("database is locked"))

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class SharedTransaction:
    """Lets the writes of one thread share a transaction, which begins with the first write and ends with `stack`.

    `lost` is the error after which SQLite undid the whole transaction. Every later write then fails with it.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.connection: Connection | None = None
        self.lost: Exception | None = None
        self._stack = stack

    @contextmanager
    def part(self, begin: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Connection]:
        """Does one write. An exception undoes this write alone, unless SQLite undoes all (for example, a full disk)."""
        if self.lost is not None:
            raise self.lost
        try:
            connection = self.connection = self.connection or self._stack.enter_context(begin())
            _execute(connection, "SAVEPOINT part")
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
                _execute(connection, statement)
        except OperationalError as error:  # the savepoint no longer exists
            self.lost = error


def _execute(connection: Connection, statement: str) -> None:
    """Gives the statement to the driver directly: every write needs it, and SQLAlchemy takes longer than SQLite."""
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute(statement)
    except sqlite3.Error as error:
        raise OperationalError(statement, None, error) from error
