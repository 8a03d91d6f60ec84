"""Writes what a command has found: a table with headings for people, JSON for programs (docs/commands.md)."""

import json
import signal
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import click

from sshaft.command_line.colour import coloured
from sshaft.text import printable

Row = Mapping[str, Any]
"""One object of a list, as JSON values."""
Columns = Mapping[str, str | Callable[[Row], Any]]
"""The headings of a table. Each has the name of a member, or a function that returns what stands there."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON array of objects.")
_PAGE = 1000
_MAX_CELL = 300
_STATES = ("STATE", "STATUS")
"""The headings of columns with a word that says good or bad."""


def write_list(rows: Iterable[Row], columns: Columns, *, as_json: bool, nothing: str) -> None:
    """Writes a list of any length to stdout as its rows come: a table, or one JSON array with an object a line.

    The sentence `nothing` goes to stderr if there is no row. Ctrl-C and a reader that has gone end the process at once,
    as they end other programs of Unix.
    """
    waiting = iter(rows)
    pages = iter(lambda: list(islice(waiting, _PAGE)), [])
    with ended_by_signals():
        if as_json:
            _write_array(pages)
        elif not _write_table(pages, columns):
            click.echo(nothing, err=True)


def table(rows: Sequence[Row], columns: Columns) -> list[str]:
    """Returns the lines of a short table, the headings first."""
    return _lines([list(columns)], rows, columns, [len(heading) for heading in columns])


def write_json(value: object) -> None:
    """Writes a value as JSON of several lines."""
    click.echo(_safe(json.dumps(value, indent=2)))


def _write_array(pages: Iterable[Sequence[Row]]) -> None:
    before = "["
    for page in pages:
        click.echo(before + ",".join(f"\n{_safe(json.dumps(row))}" for row in page), nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def _write_table(pages: Iterable[Sequence[Row]], columns: Columns) -> bool:
    """Whether there is a row. A page that is wider than those before it is aligned by itself."""
    widths = [len(heading) for heading in columns]
    headings = [list(columns)]
    for page in pages:
        click.echo("\n".join(_lines(headings, page, columns, widths)))
        headings = []
    return not headings


def _safe(encoded: str) -> str:
    """Escapes the only character of ASCII that JSON leaves as it is and that no terminal shows."""
    return encoded.replace("\x7f", "\\u007f")


def _lines(headings: list[list[str]], rows: Sequence[Row], columns: Columns, widths: list[int]) -> list[str]:
    """Returns aligned lines. `widths` has the widest cells so far, and grows with the rows."""
    cells = [[_cell(find(row) if callable(find) else row[find]) for find in columns.values()] for row in rows]
    for number in range(len(widths)):
        widths[number] = max([widths[number], *(_width(line[number]) for line in cells)])
    lines = []
    for line in [*headings, *cells]:
        padded = [cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)]
        padded[-1] = line[-1]
        shown = [coloured(cell) if heading in _STATES else cell for heading, cell in zip(columns, padded, strict=True)]
        lines.append("  ".join(shown))
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return "-" if value is None or value == "" else printable(str(value), _MAX_CELL)


def _width(text: str) -> int:
    """Returns how many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets SIGPIPE and SIGINT end the process within the block. Python would turn both into exceptions."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGPIPE, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
