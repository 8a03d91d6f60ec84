"""The connection to the database: how it begins to read and to write, and whether its tables are those we know."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Connection, Engine, bindparam, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from sshaft.errors import ConfigurationError
from sshaft_identity.common.errors import DatabaseError
from sshaft_identity.database import sqlite
from sshaft_identity.database.connections import ConnectionCache, IsStale
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.sqlite import SharedTransaction, WriteLock
from sshaft_identity.database.tables import metadata

UNAVAILABLE = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)
"""What SQLAlchemy raises where the database is away, busy, full or being replaced: another time it may work."""


class Database:
    """An engine with two doors. `write` is for every change.

    On SQLite it takes the one write lock at its start. On PostgreSQL transactions run side by side (READ COMMITTED):
    a change that depends on what was read is one conditional UPDATE, or it is done `alone`.
    """

    def __init__(self, url: str, *, patient: bool = False) -> None:
        """`patient`: may wait for PostgreSQL as long as it takes, see `postgresql.new_engine`."""
        self.engine, is_stale = _engine(url, patient=patient)
        self.is_postgresql = self.engine.dialect.name == "postgresql"
        # On PostgreSQL statements see the latest commit with or without a transaction around them: without is one round
        # trip, with is three.
        options = {"isolation_level": "AUTOCOMMIT"} if self.is_postgresql else {}
        self._reader = ConnectionCache(self.engine, is_stale, **options)
        self._writer = ConnectionCache(self.engine, is_stale, writes=True)
        self._local = threading.local()
        # SQLite's one write lock is not queued for: who finds it taken sleeps and looks again, and may be unlucky for
        # seconds. The threads of this process queue here.
        self._turn = nullcontext() if self.is_postgresql else WriteLock(sqlite.LOCK_WAIT_SECONDS)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Each statement sees the latest commit; within `together` also what was written before."""
        group: SharedTransaction | None = getattr(self._local, "group", None)
        if group is not None and group.connection is not None:
            yield group.connection
            return
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, alone: str | None = None) -> Iterator[Connection]:
        """One transaction: committed at the end, undone by an exception. No other one that is `alone` by the same name
        runs at the same time, in whatever process.
        """
        group: SharedTransaction | None = getattr(self._local, "group", None)
        if group is not None:
            with group.part(self._transaction) as connection:
                yield connection
            return
        with self._transaction() as connection:
            if alone is not None and self.is_postgresql:
                _LOCK.all(connection, {"number": _lock_number(alone)})
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._turn, self._writer.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """On SQLite all that this thread writes from here on is one transaction, committed at the end; an exception
        undoes the one `write` that it leaves, and no other.
        """
        with ExitStack() as stack:
            group = self._local.group = SharedTransaction(stack)
            stack.callback(setattr, self._local, "group", None)
            yield
            if group.lost is not None:
                raise group.lost

    def may_be_alone(self, connection: Connection, name: str) -> bool:
        """As `write(alone=name)` from here on, but without waiting: False if another one is."""
        if not self.is_postgresql:
            return True
        return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(_lock_number(name)))))

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Reads that all see the same moment."""
        options: dict[str, Any] = {"snapshot": True}
        if self.is_postgresql:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self.engine.execution_options(**options).begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Make the tables or bring them up to date; again is harmless, at once as well. Raises `DatabaseError`."""
        try:
            with self.write(alone="migration") as connection:
                if self.is_postgresql and connection.scalar(text("SHOW server_encoding")) != "UTF8":
                    raise ConfigurationError("the PostgreSQL database must be one with ENCODING 'UTF8'")
                command.upgrade(_alembic(connection), "head")
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database cannot be set up: {reason(error)}{self._advice(error)}") from error

    def renew(self, connection: Connection) -> None:
        """Drop all tables and make them again, in the transaction of `connection`. Rows that no trigger lets anybody
        delete go as well.
        """
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        command.upgrade(_alembic(connection), "head")

    def check(self) -> None:
        """Raises `ConfigurationError` if the tables are not those of this version, `DatabaseError` if it is away."""
        try:
            with self.read() as connection:
                current = MigrationContext.configure(connection).get_current_revision()
                wanted = ScriptDirectory.from_config(_alembic(connection)).get_current_head()
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database cannot be used: {reason(error)}{self._advice(error)}") from error
        if current != wanted:
            raise ConfigurationError(
                f"the database is at revision {current or 'none'}, this version needs {wanted}: "
                "run `sshaft identity init`"
            )

    def revision(self, connection: Connection) -> str:
        return MigrationContext.configure(connection).get_current_revision() or "none"

    def ping(self) -> None:
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Also what a thread still uses, as soon as it is given back."""
        event.listen(self.engine.pool, "checkin", _close)
        for each in (self._reader, self._writer):
            each.dispose()
        self.engine.dispose()

    def _advice(self, error: SQLAlchemyError) -> str:
        if self.is_postgresql and isinstance(error, UNAVAILABLE):
            return " (is PostgreSQL running, and is its URL right?)"
        return ""


def reason(error: SQLAlchemyError) -> str:
    """What the database said, in one line; without the parameters, rows or addresses that a full text may hold."""
    cause = getattr(error, "orig", None)
    if cause is None:
        return type(error).__name__
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    return " ".join(str(primary or cause).split())


def _engine(url: str, *, patient: bool) -> tuple[Engine, IsStale]:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # it may hold a password, so nothing of it is repeated
        raise ConfigurationError("the database URL is none: postgresql://USER@HOST/NAME or sqlite:////FILE") from error
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite":
            return sqlite.new_engine(parsed), sqlite.is_stale
        case "postgresql" | "postgresql+psycopg":
            try:
                from sshaft_identity.database import postgresql  # noqa: PLC0415 - an extra of its own
            except ImportError as error:
                raise ConfigurationError("PostgreSQL needs psycopg: pip install 'sshaft[postgresql]'") from error
            return postgresql.new_engine(parsed, patient=patient), postgresql.is_stale
    raise ConfigurationError("the database is neither postgresql://USER@HOST/NAME nor sqlite:////FILE")


_LOCK = Prepared(select(func.pg_advisory_xact_lock(bindparam("number", type_=BigInteger)).label("lock")))


def _close(_connection: Any, entry: ConnectionPoolEntry) -> None:
    entry.close()


def _lock_number(name: str) -> int:
    """Advisory locks have numbers, shared by all who use the same PostgreSQL database."""
    return int.from_bytes(hashlib.sha256(f"sshaft identity {name}".encode()).digest()[:8], signed=True)


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "sshaft_identity:database/migrations")
    config.attributes["connection"] = connection
    return config
