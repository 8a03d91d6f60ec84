"""Compiles a statement with SQLAlchemy once, and then gives it to the driver directly.

For each statement SQLAlchemy takes several times as long as SQLite (bench/README.md). So the statements of a login are
`Prepared`, and the others are not.
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
    """A SELECT or UPDATE with `bindparam`s, or an INSERT of one row with always the same columns.

    Raises the errors of SQLAlchemy.
    """

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._forms: dict[str, _Form] = {}

    def all(self, connection: Connection, values: Mapping[str, object]) -> list[Any]:
        """Executes the statement. Returns its rows as named tuples."""
        form = self._forms.get(connection.dialect.name) or self._form(connection.dialect, values)
        driver: Any = connection.connection.driver_connection
        parameters = form.parameters(values)
        for listener in connection.dispatch.before_cursor_execute:  # SQLAlchemy's event
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
        """Executes the statement. Returns its first row or None."""
        return next(iter(self.all(connection, values)), None)

    def _form(self, dialect: Dialect, values: Mapping[str, object]) -> "_Form":
        statement = self._statement
        fills = [name for name in values if name in statement.table.c] if isinstance(statement, Insert) else None
        form = self._forms[dialect.name] = _compile(self._statement, fills, dialect)
        return form


@dataclass(frozen=True, slots=True)
class _Form:
    """The text for one kind of database, and the conversions of its parameters and rows."""

    text: str
    order: list[str] | None  # if the driver takes parameters by position
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


def _compile(statement: Statement, fills: list[str] | None, dialect: Dialect) -> _Form:
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
