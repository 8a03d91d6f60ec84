"""The connection to the database: how it begins to read and to write, and whether its tables are those we know."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from sshaft.errors import ConfigurationError
from sshaft_identity.errors import DatabaseError

BUSY_TIMEOUT_MS = 5000


class Database:
    """An engine with two doors. `write` is for every change: on SQLite it takes the one write lock at its start, so
    that a transaction never finds in its middle that somebody was faster.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._writer = self.engine.execution_options(writes=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end, undone by an exception."""
        with self._writer.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Make the tables or bring them up to date; again is harmless. Raises `DatabaseError`."""
        try:
            with self.write() as connection:
                command.upgrade(_alembic(connection), "head")
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database cannot be set up: {_reason(error)}") from error

    def check(self) -> None:
        """Raises `ConfigurationError` if the tables are not those of this version, `DatabaseError` if it is away."""
        try:
            with self.read() as connection:
                current = MigrationContext.configure(connection).get_current_revision()
                wanted = ScriptDirectory.from_config(_alembic(connection)).get_current_head()
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database cannot be used: {_reason(error)}") from error
        if current != wanted:
            raise ConfigurationError(
                f"the database is at revision {current or 'none'}, this version needs {wanted}: "
                "run `sshaft identity init`"
            )

    def ping(self) -> None:
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        # The URL may hold a password: say which kind of database, never the address.
        raise ConfigurationError("the database URL in identity.json is of no kind that is installed here") from error
    if engine.dialect.name == "sqlite":
        if parsed.database:
            _create_private(Path(parsed.database))
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _create_private(path: Path) -> None:
    try:
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be opened: {error.strerror}") from error


def _on_sqlite_connect(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver starts no transactions of its own; _on_sqlite_begin does
    for pragma in (f"busy_timeout = {BUSY_TIMEOUT_MS}", "journal_mode = WAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "sshaft_identity:migrations")
    config.attributes["connection"] = connection
    return config


def _reason(error: SQLAlchemyError) -> str:
    return str(error.orig) if isinstance(error, OperationalError) and error.orig else type(error).__name__
