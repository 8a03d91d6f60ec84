"""Statements as the driver takes them: put together by SQLAlchemy once, carried out without it from then on. What it
does for each takes several times as long as SQLite's answer (bench/README.md), so what a login asks goes this way. All
else is SQLAlchemy's own.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Select, Update
from sqlalchemy.exc import DBAPIError

Statement = Select[Any] | Insert | Update
Process = Callable[[Any], Any]


class Prepared:
    """A SELECT or UPDATE with `bindparam`s in it; or an INSERT, which is always given the same columns of one row.
    Errors are SQLAlchemy's.
    """

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._forms: dict[str, _Form] = {}

    def all(self, connection: Connection, values: Mapping[str, object]) -> list[Any]:
        """The rows, as named tuples; none where the statement returns none."""
        form = self._forms.get(connection.dialect.name) or self._form(connection.dialect, values)
        driver: Any = connection.connection.driver_connection
        parameters = form.parameters(values)
        for listener in connection.dispatch.before_cursor_execute:  # SQLAlchemy's event, for who looks at statements
            listener(connection, None, form.text, parameters, None, False)
        try:
            cursor = driver.execute(form.text, parameters)
            rows = cursor.fetchall() if form.row else ()
        except connection.dialect.loaded_dbapi.Error as error:
            if connection.dialect.is_disconnect(error, driver, None):
                connection.invalidate(error)
            raise _translated(error, form.text, connection.dialect) from error
        return [form.read(row) for row in rows]

    def first(self, connection: Connection, values: Mapping[str, object]) -> Any:
        """The first row, None if there is none."""
        return next(iter(self.all(connection, values)), None)

    def _form(self, dialect: Dialect, values: Mapping[str, object]) -> "_Form":
        fills = list(values) if isinstance(self._statement, Insert) else None
        form = self._forms[dialect.name] = _put_together(self._statement, fills, dialect)
        return form


@dataclass(frozen=True, slots=True)
class _Form:
    """What one of the databases is told, and how values become its own and back."""

    text: str
    order: list[str] | None  # where the driver takes parameters by place
    fixed: dict[str, Any]
    bind: dict[str, Process | None]
    row: Any
    result: list[tuple[int, Process]]

    def parameters(self, values: Mapping[str, object]) -> Any:
        given = dict(self.fixed)
        for name, process in self.bind.items():
            given[name] = process(values[name]) if process else values[name]
        return given if self.order is None else tuple(given[name] for name in self.order)

    def read(self, row: tuple[Any, ...]) -> Any:
        values = list(row)
        for place, process in self.result:
            values[place] = process(values[place])
        return self.row(*values)


def _put_together(statement: Statement, fills: list[str] | None, dialect: Dialect) -> _Form:
    compiled: Any = statement.compile(dialect=dialect, column_keys=fills)
    fixed: dict[str, Any] = {}
    bind: dict[str, Process | None] = {}
    for parameter, name in compiled.bind_names.items():
        process = parameter.type.dialect_impl(dialect).bind_processor(dialect)
        if parameter.required:
            bind[name] = process
        else:
            fixed[name] = process(parameter.effective_value) if process else parameter.effective_value
    columns = list(statement.exported_columns)
    results = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    return _Form(
        text=compiled.string,
        order=compiled.positiontup,
        fixed=fixed,
        bind=bind,
        row=namedtuple("Row", [str(column.key) for column in columns]) if columns else None,  # noqa: PYI024 - made here
        result=[(place, process) for place, process in enumerate(results) if process],
    )


def _translated(error: Exception, text: str, dialect: Dialect) -> Exception:
    kinds = dialect.loaded_dbapi.Error
    return DBAPIError.instance(text, None, error, kinds, hide_parameters=True, dialect=dialect)
