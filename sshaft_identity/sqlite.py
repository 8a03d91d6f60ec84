"""SQLite, the default: one file, one writer at a time, readers that never wait (WAL)."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from sshaft_identity.errors import DatabaseError

BUSY_TIMEOUT_MS = 5000


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
    for pragma in (f"busy_timeout = {BUSY_TIMEOUT_MS}", "journal_mode = WAL", "foreign_keys = ON"):
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
