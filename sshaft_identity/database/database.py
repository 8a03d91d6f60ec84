"""Opens the database, begins reading and writing, and checks that its tables are those of this version."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import BigInteger, Connection, Engine, bindparam, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from sshaft.errors import ConfigurationError
from sshaft_identity.common.errors import DatabaseError
from sshaft_identity.database import sqlite
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.sqlite import SharedTransaction, WriteLock
from sshaft_identity.database.tables import metadata

UNAVAILABLE = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)
"""The errors of SQLAlchemy if the database is away, busy, full or being replaced. A later try may succeed."""


class Database:
    """Reads and writes. Every change needs `write`.

    On SQLite `write` takes the one write lock at its start. On PostgreSQL transactions run in parallel (READ
    COMMITTED): a change that depends on a reading must be one conditional UPDATE, or be done `alone`.
    """

    def __init__(self, url: str, *, patient: bool = False) -> None:
        """`patient`: waits for PostgreSQL without a limit, see `postgresql.new_engine`."""
        self.engine = _engine(url, patient=patient)
        self.is_postgresql = self.engine.dialect.name == "postgresql"
        # On PostgreSQL a statement sees the latest commit with or without a transaction. Without one it is one round
        # trip instead of three.
        options = {"isolation_level": "AUTOCOMMIT"} if self.is_postgresql else {}
        self._reader = self.engine.execution_options(**options)
        self._writer = self.engine.execution_options(writes=True)
        self._local = threading.local()
        # SQLite has no queue for its write lock: a writer that finds it taken sleeps and tries again, perhaps for
        # seconds. The threads of this process queue here.
        self._write_lock = nullcontext() if self.is_postgresql else WriteLock(sqlite.LOCK_WAIT_SECONDS)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yields a connection. Each statement sees the latest commit, and within `together` the writes before it."""
        group: SharedTransaction | None = getattr(self._local, "group", None)
        if group is not None and group.connection is not None:
            yield group.connection
            return
        with self._reader.connect() as connection:
            yield connection

    _LOCK = Prepared(select(func.pg_advisory_xact_lock(bindparam("number", type_=BigInteger)).label("lock")))

    @contextmanager
    def write(self, *, alone: str | None = None) -> Iterator[Connection]:
        """Yields a transaction. It is committed at the end and undone by an exception.

        Transactions that are `alone` by the same name run one after the other, in all processes.
        """
        group: SharedTransaction | None = getattr(self._local, "group", None)
        if group is not None:
            with group.part(self._transaction) as connection:
                yield connection
            return
        with self._transaction() as connection:
            if alone is not None:
                self.lock(connection, alone)
            yield connection

    def lock(self, connection: Connection, name: str) -> None:
        """Makes the running transaction `alone` by this name, too. It waits for the transactions that are."""
        if self.is_postgresql:
            self._LOCK.all(connection, {"number": _lock_number(name)})

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._write_lock, self._writer.begin() as connection:
            yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """Puts all writes of this thread on SQLite into one transaction, which is committed at the end.

        An exception undoes only the `write` that it leaves.
        """
        with ExitStack() as stack:
            group = self._local.group = SharedTransaction(stack)
            stack.callback(setattr, self._local, "group", None)
            yield
            if group.lost is not None:
                raise group.lost

    def may_be_alone(self, connection: Connection, name: str) -> bool:
        """Makes the transaction `alone` without waiting. Returns False if another one is alone by this name."""
        if not self.is_postgresql:
            return True
        return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(_lock_number(name)))))

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yields a connection whose statements all see the same state."""
        options: dict[str, Any] = {"snapshot": True}
        if self.is_postgresql:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self.engine.execution_options(**options).begin() as connection:
            yield connection

    def copy_before_migration(self) -> Path | None:
        """Copies SQLite to a file beside it if its tables are older than this version. Returns the file."""
        current, wanted = self.revisions()
        if self.is_postgresql or current in (None, wanted):
            return None
        path = Path(self.engine.url.database or "")
        kept = path.with_name(f"{path.name}.{current}")
        sqlite.copy(path, kept)
        return kept

    def migrate(self) -> None:
        """Makes the tables or updates them. Repeated or parallel calls do no harm. Raises `DatabaseError`."""
        try:
            with self.write(alone="migration") as connection:
                if self.is_postgresql and connection.scalar(text("SHOW server_encoding")) != "UTF8":
                    raise ConfigurationError("the PostgreSQL database must be one with ENCODING 'UTF8'")
                command.upgrade(_alembic(connection), "head")
        except CommandError as error:  # a revision that only a newer version knows
            raise DatabaseError(f"the database cannot be set up: {error}") from error
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database cannot be set up: {reason(error)}{self._advice(error)}") from error

    def try_migration(self) -> None:
        """Migrates in a transaction that is undone. Raises `DatabaseError`."""
        try:
            with self._writer.connect() as connection, connection.begin() as transaction:
                self.lock(connection, "migration")
                command.upgrade(_alembic(connection), "head")
                transaction.rollback()
        except CommandError as error:  # a revision that only a newer version knows
            raise DatabaseError(f"the database cannot be migrated: {error}") from error
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database cannot be migrated: {reason(error)}") from error

    def renew(self, connection: Connection) -> None:
        """Drops all tables, also with rows that triggers protect, and makes them again in this transaction."""
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        command.upgrade(_alembic(connection), "head")

    def revisions(self) -> tuple[str | None, str | None]:
        """Returns the revision of the tables (None: there are none), and that of this version.

        Raises `DatabaseError` for a database that is away.
        """
        try:
            with self.read() as connection:
                current = MigrationContext.configure(connection).get_current_revision()
                return current, ScriptDirectory.from_config(_alembic(connection)).get_current_head()
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database cannot be used: {reason(error)}{self._advice(error)}") from error

    def check(self) -> None:
        """Raises `ConfigurationError` for tables of another version, `DatabaseError` for a database that is away."""
        current, wanted = self.revisions()
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
        """Closes all connections. A connection in use is closed when its thread gives it back."""
        event.listen(self.engine.pool, "checkin", _close)
        self.engine.dispose()

    def _advice(self, error: SQLAlchemyError) -> str:
        if self.is_postgresql and isinstance(error, UNAVAILABLE):
            return " (is PostgreSQL running, and is its URL right?)"
        return ""


def reason(error: SQLAlchemyError) -> str:
    """Returns the database's message in one line, without the parameters, rows or addresses of the full text."""
    cause = getattr(error, "orig", None)
    if cause is None:
        return type(error).__name__
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    return " ".join(str(primary or cause).split())


def _engine(url: str, *, patient: bool) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # the URL may hold a password, so the message does not repeat it
        raise ConfigurationError("the database URL is none: postgresql://USER@HOST/NAME or sqlite:////FILE") from error
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite" if parsed.database:
            return sqlite.new_engine(parsed)
        case "postgresql" | "postgresql+psycopg":
            try:
                from sshaft_identity.database import postgresql  # noqa: PLC0415 - an extra of its own
            except ImportError as error:
                raise ConfigurationError("PostgreSQL needs psycopg: pip install 'sshaft[postgresql]'") from error
            return postgresql.new_engine(parsed, patient=patient)
    raise ConfigurationError("the database is neither postgresql://USER@HOST/NAME nor sqlite:////FILE")


def _close(_connection: Any, entry: ConnectionPoolEntry) -> None:
    entry.close()


def _lock_number(name: str) -> int:
    """Returns the number of an advisory lock. All users of the same PostgreSQL database share these numbers."""
    return int.from_bytes(hashlib.sha256(f"sshaft identity {name}".encode()).digest()[:8], signed=True)


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "sshaft_identity:database/migrations")
    config.attributes["connection"] = connection
    return config
