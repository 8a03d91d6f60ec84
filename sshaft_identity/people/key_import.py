"""Imports the keys of many people from a file or an address that the operator names: all of them, or none."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.errors import InvalidKeyError
from sshaft.http_client import HttpClient
from sshaft.public_key import parse
from sshaft.text import printable
from sshaft.validation import first_fault
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.database.database import Database
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.people.registration import NewKey, add_key, lock_user
from sshaft_identity.people.users import make_user

MAX_FILE = 1024 * 1024
MAX_NAME = 200
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


@dataclass(frozen=True, slots=True)
class Imported:
    """The users and keys that an import has added."""

    users: tuple[str, ...]
    keys: tuple[Record, ...]


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
    return answer.body.decode("utf-8-sig", "replace")


def read_records(text: str, kind: str, where: str) -> list[Record]:
    """Returns the records of a file; `kind` is `csv` or `json`. Raises `RegistryError` that names every bad line."""
    faults, records = [], []
    for place, item in _csv(text, where) if kind == "csv" else _json(text, where):
        try:
            line = _Line.model_validate(item)
            key = parse(line.authorized_key)
        except ValidationError as error:
            faults.append(f"{place}: {first_fault(error)}")
        except InvalidKeyError as error:
            faults.append(f"{place}: authorized_key: {error}")
        else:
            comment = " ".join(line.authorized_key.split()[2:]) if line.name is None else line.name
            new = NewKey(key, printable(comment, MAX_NAME), "import", expires_at=line.expires_at)
            records.append(Record(place, line.user, new))
    _refuse_if_any(faults)
    if not records:
        raise RegistryError(f"{where} holds no key")
    return records


def _csv(text: str, where: str) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = list(reader.fieldnames or ())
        missing = {"user", "authorized_key"} - set(names)
        if missing:
            raise RegistryError(f"{where}, line 1: the header lacks {' and '.join(sorted(missing))}")
        if len(set(names)) < len(names):
            raise RegistryError(f"{where}, line 1: the header has a name twice")
        for row in reader:
            # csv puts values beyond the header under the name None, and None for values that are missing
            extra = {"more than the header": ""} if None in row else {}
            yield f"line {reader.line_num}", {n: v for n, v in row.items() if n is not None and v is not None} | extra
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
    users: list[str] = []
    keys: list[Record] = []
    with database.write(alone="enrolment") as connection:
        # sorted: two transactions must lock the users in the same order, or they could wait for each other for ever
        known = {name: lock_user(connection, name) for name in sorted({record.user for record in records})}
        for name in [name for name, is_there in known.items() if not is_there and create_users]:
            make_user(connection, name, now)
            users.append(name)
        for record in records:
            if not known[record.user] and not create_users:
                faults.append(f"{record.where}: there is no user {record.user} (--create-users makes them)")
                continue
            try:
                if add_key(connection, record.user, record.new, policy, now):
                    keys.append(record)
            except RegistryError as error:
                faults.append(f"{record.where}: {str(error).removesuffix(', nothing was added')}")
        _refuse_if_any(faults)
        if dry_run:
            connection.rollback()
    return Imported(tuple(users), tuple(keys))


def _refuse_if_any(faults: list[str]) -> None:
    if faults:
        more = f"; and {len(faults) - _MAX_FAULTS_SHOWN} more" if len(faults) > _MAX_FAULTS_SHOWN else ""
        raise RegistryError(f"nothing was imported: {'; '.join(faults[:_MAX_FAULTS_SHOWN])}{more}")
