"""Seals the events of the audit log into a chain, and verifies the chain (docs/audit.md).

Every event is sealed with a hash over itself and the hash before it. A person who notes one hash can later find any
change, removal or insertion before it. One process at a time seals events, after they are recorded: so no recording
waits for another.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Connection, Row, Select, Text, bindparam, func, select, update

from sshaft_identity.audit.log import canonical
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import audit_events

START = "0" * 64
"""Stands for the hash before the first event."""
BATCH = 500

_SEAL = update(audit_events).where(audit_events.c.id == bindparam("row"))
_SEAL = _SEAL.values(seq=bindparam("place"), hash=bindparam("its_hash"))
_seals = (
    func.unnest(
        bindparam("rows", type_=ARRAY(BigInteger)),
        bindparam("places", type_=ARRAY(BigInteger)),
        bindparam("hashes", type_=ARRAY(Text)),
    )
    .table_valued("row", "place", "hash", name="seals")
    .render_derived()
)
_SEAL_ALL = update(audit_events).where(audit_events.c.id == _seals.c.row)
_SEAL_ALL = _SEAL_ALL.values(seq=_seals.c.place, hash=_seals.c.hash)
"""Seals many events in one statement and one round trip. Only PostgreSQL understands it."""

OnSealed = Callable[[Mapping[str, int]], None]


@dataclass(frozen=True, slots=True)
class Head:
    """The last sealed event. Its text is `SEQ:HASH`."""

    seq: int = 0
    hash: str = START

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class ChainBrokenError(Exception):
    """The chain is not as sealing left it. The message names the first wrong event and the fault."""


def line_of(row: Row[Any]) -> dict[str, object]:
    """Returns an event as `audit export` writes it, without its hash. `seq` is null until the event is sealed."""
    try:
        facts = json.loads(row.facts)
    except ValueError:
        facts = row.facts
    line = {"seq": row.seq, "at": timestamp(row.at), "event": row.event, "user": row.user_name, "facts": facts}
    # Events before revision 0003 were sealed without this member.
    return line if row.user_id is None else line | {"user_id": row.user_id}


def timestamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def hash_of(previous: str, line: Mapping[str, object]) -> str:
    """Returns SHA-256 over the previous hash, a line feed, and the event as canonical JSON without its hash."""
    return hashlib.sha256(f"{previous}\n{canonical(line)}".encode()).hexdigest()


def seal(database: Database, limit: int = BATCH) -> Counter[str]:
    """Seals up to `limit` events, oldest first. Returns their number by name; none while another process seals."""
    with database.read() as connection:  # look first, and take the write lock only if needed
        if connection.scalar(_unsealed().limit(1)) is None:
            return Counter()
    with database.write() as connection:
        if not database.may_be_alone(connection, "audit"):
            return Counter()
        head = head_of(connection)
        rows = connection.execute(_unsealed().limit(limit)).all()
        sealed: list[tuple[int, Head]] = []
        for row in rows:
            line = line_of(row) | {"seq": head.seq + 1}
            head = Head(head.seq + 1, hash_of(head.hash, line))
            sealed.append((row.id, head))
        if sealed:
            _write(connection, sealed)
        return Counter(row.event for row in rows)


def _write(connection: Connection, sealed: Sequence[tuple[int, Head]]) -> None:
    seals = [{"row": row, "place": head.seq, "its_hash": head.hash} for row, head in sealed]
    if connection.dialect.name == "postgresql":
        columns = {"rows": "row", "places": "place", "hashes": "its_hash"}
        connection.execute(_SEAL_ALL, {name: [seal[column] for seal in seals] for name, column in columns.items()})
    else:
        connection.execute(_SEAL, seals)


def _unsealed() -> Select[Any]:
    """Returns the query of the events to seal. An event with a hash but no place is for `verify`, and stops nothing."""
    is_new = audit_events.c.seq.is_(None) & audit_events.c.hash.is_(None)
    return select(audit_events).where(is_new).order_by(audit_events.c.id)


def head_of(connection: Connection) -> Head:
    last = select(audit_events.c.seq, audit_events.c.hash).where(audit_events.c.seq.is_not(None))
    row = connection.execute(last.order_by(audit_events.c.seq.desc()).limit(1)).one_or_none()
    return Head() if row is None else Head(row.seq, row.hash)


def count_unsealed(connection: Connection) -> int:
    query = select(func.count()).select_from(audit_events).where(audit_events.c.seq.is_(None))
    return connection.scalar(query) or 0


def count_sealed(connection: Connection) -> int:
    query = select(func.count()).select_from(audit_events).where(audit_events.c.seq.is_not(None))
    return connection.scalar(query) or 0


def verify(database: Database, noted: Head | None = None, batch: int = BATCH) -> Iterator[Head]:
    """Verifies the chain. Yields the head after each batch, at least once. Raises `ChainBrokenError`.

    `noted` is a head that was kept elsewhere. It shows that the end is not cut off and that the chain is not new.
    """
    head = Head()
    _find_half_sealed(database)
    while True:
        query = select(audit_events).where(audit_events.c.seq.is_not(None)).order_by(audit_events.c.seq).limit(batch)
        if head.seq:
            query = query.where(audit_events.c.seq > head.seq)
        with database.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            head = _next(head, row)
            if noted is not None and noted.seq == head.seq and noted.hash != head.hash:
                raise ChainBrokenError(f"event {head.seq} is not the one that was noted: its hash is {head.hash}")
        yield head
        if len(rows) < batch:
            break
    if noted is not None and noted.seq > head.seq:
        raise ChainBrokenError(f"the end is missing: event {noted.seq} was noted, the last one here is {head.seq}")


def _next(head: Head, row: Row[Any]) -> Head:
    if row.seq != head.seq + 1:
        raise ChainBrokenError(f"after event {head.seq} comes {row.seq}: what was between is missing")
    line = line_of(row)
    if not isinstance(line["facts"], dict) or canonical(line["facts"]) != row.facts:
        raise ChainBrokenError(f"event {row.seq} ({line['at']}) was changed: its facts are not as they were written")
    expected = hash_of(head.hash, line)
    if row.hash != expected:
        raise ChainBrokenError(f"event {row.seq} ({line['at']}) was changed, or the one before it: the hash is wrong")
    return Head(row.seq, expected)


def _find_half_sealed(database: Database) -> None:
    half = select(audit_events.c.id).where(audit_events.c.seq.is_(None), audit_events.c.hash.is_not(None)).limit(1)
    with database.read() as connection:
        found = connection.scalar(half)
    if found is not None:
        raise ChainBrokenError(f"the row with id {found} has a hash and no place in the chain")


def seal_all(database: Database, on_sealed: OnSealed | None = None) -> None:
    """Seals until no event is left that this process may seal."""
    while sealed := seal(database):
        if on_sealed is not None:
            on_sealed(sealed)
