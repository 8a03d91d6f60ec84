"""Writes every row of the database into one file, and fills an SQLite or PostgreSQL database from it.

The file is gzip of JSON lines: a header; for each table a line with its columns and one line a row; the counts; the
SHA-256 of all lines before. The SHA-256 finds a damaged file. It does not protect against a person who may write the
file.
"""

import base64
import gzip
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Column, Connection, LargeBinary
from sqlalchemy.engine.default import DefaultDialect

import sshaft
from sshaft import files
from sshaft_identity.common.errors import CopyError
from sshaft_identity.database import copying
from sshaft_identity.database.copying import Progress, Row
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import UtcTime, metadata

FORMAT = 1
Replacing = Callable[[Path], AbstractContextManager[IO[bytes]]]
_TIMES = UtcTime()
_ANY_DIALECT = DefaultDialect()


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete backup file. `key` names the hmac.key that its open challenges need, see `key_name`."""

    path: Path
    source: Path | IO[bytes]
    revision: str
    version: str
    key: str
    rows: dict[str, int]


def key_name(key: bytes) -> str:
    """Returns a name that distinguishes keys and reveals nothing about them."""
    return hmac.digest(key, b"sshaft identity backup", "sha256").hex()[:16]


def write(
    database: Database,
    path: Path,
    key: bytes,
    now: datetime,
    progress: Progress,
    replacing: Replacing = files.replacing,
) -> dict[str, int]:
    """Writes the whole file or none, for its owner only. Returns the number of rows by table. Raises `CopyError`.

    `replacing` opens the file and puts it in its place, as `files.replacing` does.
    """
    try:
        with replacing(path) as file, database.snapshot() as connection:
            header = _header(database.revision(connection), key, now)
            with gzip.GzipFile(filename="", fileobj=file, mode="wb") as packed:
                return _write_lines(packed, header, connection, progress)
    except OSError as error:
        raise CopyError(f"{path} cannot be written: {error.strerror}") from error


def _header(revision: str, key: bytes, now: datetime) -> dict[str, Any]:
    return {
        "sshaft_identity_backup": FORMAT,
        "version": sshaft.__version__,
        "revision": revision,
        "created_at": now.isoformat(timespec="seconds"),
        "key": key_name(key),
    }


def _write_lines(
    packed: gzip.GzipFile, header: dict[str, Any], connection: Connection, progress: Progress
) -> dict[str, int]:
    sum_of_lines = hashlib.sha256()

    def line(value: object) -> None:
        text = _line(value)
        sum_of_lines.update(text)
        packed.write(text)

    line(header)
    rows = copying.counts(connection)
    with progress(sum(rows.values())) as done:
        for table in metadata.sorted_tables:
            columns = list(table.columns)
            line({"table": table.name, "columns": [column.name for column in columns]})
            for batch in copying.rows_of(connection, table):
                for row in batch:
                    line([_encoded(row[column.name]) for column in columns])
                done(len(batch))
    line({"rows": rows})
    packed.write(_line({"sha256": sum_of_lines.hexdigest()}))
    return rows


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Opens the file, for `verified` and `restore`. Raises `CopyError`."""
    try:
        source = path.open("rb")
    except OSError as error:
        raise CopyError(f"{path} cannot be read: {error.strerror}") from error
    with source:
        yield source


def verified(path: Path, source: IO[bytes] | None = None) -> Backup:
    """Reads the whole file once; `source` is the file if it is open already.

    Raises `CopyError` if the file is not a backup, or is damaged.
    """
    sum_of_lines = hashlib.sha256()
    last = before = b""
    header: Any = None
    for line in _lines_of(path, source or path):
        sum_of_lines.update(last)
        before, last = last, line
        header = _parsed(line) if header is None else header
    if not isinstance(header, dict) or header.get("sshaft_identity_backup") != FORMAT:
        raise CopyError(f"{path} is no backup of `sshaft identity backup` that this version can read")
    if _parsed(last) != {"sha256": sum_of_lines.hexdigest()}:
        raise CopyError(f"{path} is cut off or was altered, nothing was restored: take another backup")
    match header, _parsed(before):
        case {"revision": str(revision), "version": str(version), "key": str(key)}, {"rows": dict(rows)} if all(
            isinstance(count, int) for count in rows.values()
        ):
            return Backup(path, source or path, revision, version, key, rows)
    raise CopyError(f"{path} is no backup of `sshaft identity backup`")


def restore(database: Database, backup: Backup, progress: Progress, *, replace: bool) -> None:
    """Fills the database, all or nothing.

    Raises `CopyError` if the database has another revision, or has rows and `replace` is false.
    """
    with database.write(alone="migration") as connection:
        revision = database.revision(connection)
        if backup.revision != revision:
            raise CopyError(
                f"{backup.path} is of revision {backup.revision}, the database of {revision}: restore it with sshaft "
                f"{backup.version}, then run `sshaft identity init` with this one"
            )
        if replace or copying.is_unused(connection):
            database.renew(connection)
        copying.require_empty(connection)
        with progress(sum(backup.rows.values())) as done:
            try:
                for table, rows in _tables_of(backup):
                    copying.add_rows(connection, metadata.tables[table], rows)
                    done(len(rows))
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise CopyError(f"{backup.path} holds what no backup holds, nothing was restored") from error
        copying.finish(connection, backup.rows)


def _tables_of(backup: Backup) -> Iterator[tuple[str, list[Row]]]:
    """Yields the rows of a complete file, at most `copying.BATCH` at a time, with the name of their table."""
    name, rows = "", list[Row]()
    columns: list[Column[Any]] = []
    for line in _lines_of(backup.path, backup.source):
        value = json.loads(line)
        if isinstance(value, list):
            rows.append({column.name: _decoded(column, cell) for column, cell in zip(columns, value, strict=True)})
        if rows and (isinstance(value, dict) or len(rows) == copying.BATCH):
            yield name, rows
            rows = []
        if isinstance(value, dict) and "table" in value:
            name = value["table"]
            columns = [metadata.tables[name].columns[column] for column in value["columns"]]


def _lines_of(path: Path, source: Path | IO[bytes]) -> Iterator[bytes]:
    try:
        if not isinstance(source, Path):
            source.seek(0)
        with gzip.open(source) as file:
            yield from file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CopyError(f"{path} is no whole backup: {str(error) or type(error).__name__}") from error
    except OSError as error:
        raise CopyError(f"{path} cannot be read: {error.strerror}") from error


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _encoded(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return _TIMES.process_bind_param(value, _ANY_DIALECT)
    return value


def _decoded(column: Column[Any], value: Any) -> Any:
    match column.type:
        case _ if value is None:
            return None
        case LargeBinary():
            return base64.b64decode(value)
        case UtcTime():
            return column.type.process_result_value(value, _ANY_DIALECT)
    return value
