"""Reads a long list page by page. No transaction is open between two pages, however long a reader takes."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Row, Select, literal, tuple_

from sshaft_identity.database.database import Database

PAGE = 1000


def rows(database: Database, query: Select[Any], *order: Column[Any], newest_first: bool = False) -> Iterator[Row[Any]]:
    """Yields the rows of the query in the order of these columns, which `query` selects and no two rows share.

    A row that is added meanwhile at a place that was read already is not among them.
    """
    place = tuple_(*order)
    ordered = query.order_by(*(column.desc() if newest_first else column for column in order)).limit(PAGE)
    page = ordered
    while True:
        with database.read() as connection:
            found = connection.execute(page).all()
        yield from found
        if len(found) < PAGE:
            return
        last = tuple_(*(literal(found[-1]._mapping[column], column.type) for column in order))  # noqa: SLF001 - its API
        page = ordered.where(place < last if newest_first else place > last)
