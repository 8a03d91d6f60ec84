"""All rows from one database into another, of whichever kind. Every table of `tables` is covered: none is named."""

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
"""Told how many rows there are; what comes back is told of every few that are done."""


def copy(source: Database, target: Database, progress: Progress) -> dict[str, int]:
    """Fill the tables of `target`, all or none; rows by table. Raises `CopyError` where it is not empty."""
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
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in metadata.sorted_tables
    }


def rows_of(connection: Connection, table: Table) -> Iterator[list[Row]]:
    """A few at a time; those of a large table never stand in memory together."""
    result = connection.execute(
        select(table).order_by(*table.primary_key.columns), execution_options={"yield_per": BATCH}
    )
    for rows in result.mappings().partitions():
        yield [dict(row) for row in rows]


FIRST_ROWS = ("audit_events", "signing_keys")
"""What `init` writes by itself: a database that holds nothing else has not been used."""


def is_unused(connection: Connection) -> bool:
    return not [name for name, rows in counts(connection).items() if rows and name not in FIRST_ROWS]


def require_empty(connection: Connection) -> None:
    """From here on nobody else writes, until the transaction ends; reading goes on."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(connection.dialect.identifier_preparer.format_table(t) for t in metadata.sorted_tables)
        connection.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
    filled = [name for name, rows in counts(connection).items() if rows]
    if filled:
        raise CopyError(f"the database to fill is not empty: it has rows in {', '.join(filled)}")


def add_rows(connection: Connection, table: Table, rows: list[Row]) -> None:
    connection.execute(insert(table), rows)


def finish(connection: Connection, wanted: dict[str, int]) -> None:
    """Compare the counts, let numbers that PostgreSQL gives go on behind those that came with the rows, and let it tell
    those who wait for something that was there before.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, "")))
        for table in metadata.sorted_tables:
            _go_on_counting(connection, table)
    there = counts(connection)
    if there != wanted:
        raise CopyError(f"rows are missing, nothing was kept: {wanted} were to be copied, {there} arrived")


def _go_on_counting(connection: Connection, table: Table) -> None:
    column = table.autoincrement_column
    if column is None:
        return
    sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
    highest = connection.scalar(select(func.max(column)))
    if sequence and highest is not None:
        connection.execute(select(func.setval(sequence, highest)))
