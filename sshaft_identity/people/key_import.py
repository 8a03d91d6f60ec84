"""Imports the keys of many people from a file or an address that the operator names: all of them, or none."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from sqlalchemy import Connection, select, update

from sshaft import files
from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.http_client import HttpClient
from sshaft.text import printable
from sshaft.validation import first_fault
from sshaft_identity.audit.log import record_event
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.common.times import rfc3339
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import ssh_keys
from sshaft_identity.people.brought_key import MAX_NAME, BroughtKey, WrongThingError, read_key, read_keys
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.people.registration import NewKey, add_key, lock_user
from sshaft_identity.people.users import make_user

MAX_FILE = 1024 * 1024
_MAX_FAULTS_SHOWN = 20
_FETCH_TIMEOUT = 10.0


class _Line(BaseModel):
    """One line of the file. An unknown column is refused, because it may hold a condition on the key."""

    model_config = ConfigDict(extra="forbid")

    user: str = Field(pattern=USER_PATTERN)
    authorized_key: str
    name: str | None = None
    expires_at: AwareDatetime | None = None

    @field_validator("name", "expires_at", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("expires_at")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        try:
            return value and value.astimezone(UTC)
        except OverflowError:
            raise ValueError("must be within the years 1 to 9999") from None


@dataclass(frozen=True, slots=True)
class Record:
    """A key of the file with its user. `where` names the line for messages."""

    where: str
    user: str
    new: NewKey


@dataclass(slots=True)
class Imported:
    """What an import has done: new users, new keys, and keys that were there and have another end now.

    `unchanged` counts the keys that were there. `notes` name the lines whose end the key policy does not allow.
    """

    users: list[str] = field(default_factory=list)
    keys: list[Record] = field(default_factory=list)
    ends: list[tuple[Record, datetime]] = field(default_factory=list)
    unchanged: int = 0
    notes: list[str] = field(default_factory=list)


def fetch(url: str) -> str:
    """Returns the text at an https address (http to loopback only). Raises `RegistryError` or `RemoteServiceError`."""
    try:
        TypeAdapter(Url).validate_python(url)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise RegistryError(f"the address {printable(url)} {reason}") from None
    client = HttpClient(max_answer=MAX_FILE)
    try:
        answer = client.send("GET", url, Deadline.after(_FETCH_TIMEOUT), headers={"Accept": "text/plain"})
    finally:
        client.close()
    if answer.status != 200:
        raise RegistryError(f"{printable(url)} answered {answer.status}: nothing was added")
    return text_of(answer.body, printable(url))


def text_of(data: bytes, where: str) -> str:
    """Returns the text of a file that people wrote. Raises `RegistryError`."""
    if len(data) > MAX_FILE:
        raise RegistryError(f"{where} is larger than 1 MiB: no file of keys")
    try:
        return files.decode_text(data, errors="replace")
    except files.NotTextError as error:
        raise RegistryError(f"{where} is {error}") from None


def keys_of(text: str, where: str) -> list[BroughtKey]:
    """Returns the keys of a file like authorized_keys. Raises `RegistryError`, which names the line of the fault."""
    try:
        keys = read_keys(text)
    except WrongThingError as error:
        raise RegistryError(f"{where}, line {error.line}: {error}") from None
    if not keys:
        raise RegistryError(f"{where} holds no key")
    return keys


def read_records(text: str, kind: str, where: str) -> list[Record]:
    """Returns the records of a file; `kind` is `csv` or `json`. Raises `RegistryError` that names every bad line."""
    faults, records = [], []
    for place, item in _csv(text, where) if kind == "csv" else _json(text, where):
        try:
            line = _Line.model_validate(item)
            brought = read_key(line.authorized_key)
        except ValidationError as error:
            faults.append(f"{place}: {_fault_of(error)}")
        except WrongThingError as error:
            faults.append(f"{place}: authorized_key: {error}")
        else:
            name = brought.comment if line.name is None else printable(line.name, MAX_NAME)
            new = NewKey(brought.key, name, "import", expires_at=line.expires_at)
            records.append(Record(place, line.user, new))
    _refuse_if_any(faults)
    if not records:
        raise RegistryError(f"{where} holds no key")
    return records


def _fault_of(error: ValidationError) -> str:
    is_time = error.errors()[0]["type"].startswith(("datetime", "timezone"))
    return "expires_at: write the time as 2027-01-31T00:00:00Z" if is_time else first_fault(error)


def _csv(text: str, where: str) -> Iterator[tuple[str, Any]]:
    """Yields the rows as spreadsheets write them: with commas, semicolons or tabs, and with empty rows and columns."""
    rows = _rows(text, where)
    first, header = next(rows, (1, []))
    names = [re.sub(r"[ -]", "_", name.lower()) for name in header]
    if missing := sorted({"user", "authorized_key"} - set(names)):
        raise RegistryError(f"{where}, line {first}: the header lacks {' and '.join(missing)}")
    if len(set(filter(None, names))) < len(list(filter(None, names))):
        raise RegistryError(f"{where}, line {first}: the header has a name twice")
    for number, cells in rows:
        row = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        has_more = any(cell for at, cell in enumerate(cells) if at >= len(names) or not names[at])
        yield f"line {number}", row | ({"more than the header": ""} if has_more else {})


def _rows(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows that are not empty, without blanks around the cells, each with the number of its line."""
    separator = re.match(r"sep=(.)\n", text, re.IGNORECASE)  # Excel's own line, above the header
    header = text.lstrip().split("\n", 1)[0]
    delimiter = separator[1] if separator else max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells) and not (separator and reader.line_num == 1):
                yield reader.line_num, cells
    except csv.Error as error:
        raise RegistryError(f"{where}, line {reader.line_num}: not CSV: {error}") from None


def _json(text: str, where: str) -> Iterator[tuple[str, Any]]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{where} is not JSON: {printable(str(error))}") from None
    if not isinstance(items, list):
        raise RegistryError(f"{where} is not a JSON array")
    for number, item in enumerate(items, 1):
        yield f"entry {number}", item


def import_keys(
    database: Database,
    records: Sequence[Record],
    now: datetime,
    policy: KeyPolicy,
    *,
    create_users: bool = False,
    dry_run: bool = False,
) -> Imported:
    """Registers all keys in one transaction, or none. Raises `RegistryError` that names every refused line."""
    faults: list[str] = []
    imported = Imported()
    with database.write(alone="enrolment") as connection:
        # sorted: two transactions must lock the users in the same order, or they could wait for each other for ever
        known = {name: lock_user(connection, name) for name in sorted({record.user for record in records})}
        for name in [name for name, is_there in known.items() if not is_there and create_users]:
            make_user(connection, name, now)
            imported.users.append(name)
        for record in records:
            if not known[record.user] and not create_users:
                faults.append(f"{record.where}: there is no user {record.user} (--create-users makes them)")
                continue
            try:
                _import_key(connection, record, now, policy, imported)
            except RegistryError as error:
                faults.append(f"{record.where}: {str(error).removesuffix(', nothing was added')}")
        _refuse_if_any(faults)
        if dry_run:
            connection.rollback()
    return imported


def _import_key(connection: Connection, record: Record, now: datetime, policy: KeyPolicy, imported: Imported) -> None:
    """Registers the key, or changes the end of a key that the user has. Raises `RegistryError`."""
    wanted = record.new.expires_at
    if wanted is not None and wanted <= now:
        raise RegistryError("expires_at is in the past")
    if add_key(connection, record.user, record.new, policy, now):
        imported.keys.append(record)
        return
    own_key = ssh_keys.c.fingerprint == record.new.key.fingerprint
    before = connection.scalar(select(ssh_keys.c.expires_at).where(own_key))
    end = min(filter(None, (wanted, policy.expiry(now))), default=None)
    if wanted is not None and end != wanted:
        imported.notes.append(f"{record.where}: the key policy lets this key end on {end and rfc3339(end)}, not later")
    if wanted is None or end is None or end == before:
        imported.unchanged += 1
        return
    connection.execute(update(ssh_keys).where(own_key).values(expires_at=end))
    fingerprint = record.new.key.fingerprint
    record_event(connection, "key.end_changed", now, user=record.user, fingerprint=fingerprint, expires_at=rfc3339(end))
    imported.ends.append((record, end))


def _refuse_if_any(faults: list[str]) -> None:
    if faults:
        more = f"; and {len(faults) - _MAX_FAULTS_SHOWN} more" if len(faults) > _MAX_FAULTS_SHOWN else ""
        raise RegistryError(f"nothing was imported: {'; '.join(faults[:_MAX_FAULTS_SHOWN])}{more}")
