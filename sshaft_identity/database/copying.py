"""Copies all rows of one database into another, SQLite or PostgreSQL. It covers every table of `tables`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text

from sshaft_identity.common.errors import CopyError
from sshaft_identity.database.changes import CHANNEL
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import metadata

BATCH = 500

Row = dict[str, Any]
Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Gets the number of rows. The function that it yields gets the number of rows of each finished batch."""


def copy(source: Database, target: Database, progress: Progress) -> dict[str, int]:
    """Fills the tables of `target`, all or none. Returns the number of rows by table. Raises `CopyError`."""
    with source.snapshot() as reading, target.write(alone="migration") as writing:
        if source.revision(reading) != target.revision(writing):
            raise CopyError("the two databases are of different revisions: run `sshaft identity init` for both")
        require_empty(writing)
        wanted = counts(reading)
        with progress(sum(wanted.values())) as done:
            for table in metadata.sorted_tables:
                for rows in rows_of(reading, table):
                    add_rows(writing, table, rows)
                    done(len(rows))
        finish(writing, wanted)
    return wanted


def counts(connection: Connection) -> dict[str, int]:
    """Returns the number of rows by table."""
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in metadata.sorted_tables
    }


def rows_of(connection: Connection, table: Table) -> Iterator[list[Row]]:
    """Yields the rows, at most BATCH at a time, so that a large table needs little memory."""
    result = connection.execute(
        select(table).order_by(*table.primary_key.columns), execution_options={"yield_per": BATCH}
    )
    for rows in result.mappings().partitions():
        yield [dict(row) for row in rows]


_FIRST_ROWS = ("audit_events", "signing_keys")
"""The tables that `init` fills. A database with other rows is in use."""


def is_unused(connection: Connection) -> bool:
    """Whether the database has only the rows of `init`."""
    return not [name for name, rows in counts(connection).items() if rows and name not in _FIRST_ROWS]


def require_empty(connection: Connection) -> None:
    """Raises `CopyError` if a table has rows. Locks out other writers until the transaction ends; readers go on."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(connection.dialect.identifier_preparer.format_table(t) for t in metadata.sorted_tables)
        connection.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
    filled = [name for name, rows in counts(connection).items() if rows]
    if filled:
        raise CopyError(f"the database to fill is not empty: it has rows in {', '.join(filled)}")


def add_rows(connection: Connection, table: Table, rows: list[Row]) -> None:
    connection.execute(insert(table), rows)


def finish(connection: Connection, wanted: dict[str, int]) -> None:
    """Ends a copy: wakes all waiters, sets PostgreSQL's sequences behind the copied ids, and compares the counts.

    Raises `CopyError` if the counts are not `wanted`.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, "")))
        for table in metadata.sorted_tables:
            _set_sequence(connection, table)
    there = counts(connection)
    if there != wanted:
        raise CopyError(f"rows are missing, nothing was kept: {wanted} were to be copied, {there} arrived")


def _set_sequence(connection: Connection, table: Table) -> None:
    column = table.autoincrement_column
    if column is None:
        return
    sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
    highest = connection.scalar(select(func.max(column)))
    if sequence and highest is not None:
        connection.execute(select(func.setval(sequence, highest)))
