"""Tests the audit log in the database: triggers keep it append-only, one process seals, and every change is found."""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service.service import START, Clock
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from sshaft_identity.audit import chain
from sshaft_identity.audit.chain import ChainBrokenError, Head, verify
from sshaft_identity.audit.log import record_event
from sshaft_identity.commands.audit import lines
from sshaft_identity.database.tables import audit_events
from sshaft_identity.store import Store

EVENTS = 8


def note(store: Store, clock: Clock, count: int = EVENTS, **facts: Any) -> None:
    with store.database.write() as connection:
        for number in range(count):
            record_event(
                connection, "challenge.opened", clock.advance(1), user=f"user{number}", app="Wíki\x1b\x7f", **facts
            )


def head(store: Store, noted: Head | None = None, batch: int = 3) -> Head:
    return list(verify(store.database, noted, batch))[-1]


@pytest.fixture
def sealed(store: Store, clock: Clock) -> Store:
    note(store, clock)
    assert chain.seal(store.database) == {"challenge.opened": EVENTS}
    return store


@pytest.fixture
def unguarded(sealed: Store) -> Store:
    """Returns the store without its triggers: an attacker with full rights can drop them."""
    with sealed.database.write() as connection:
        if connection.dialect.name == "sqlite":
            for name in ("delete", "replace", "update"):
                connection.execute(text(f"DROP TRIGGER audit_events_no_{name}"))
        else:
            connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER USER"))
    return sealed


# --- append-only


REFUSED = [
    delete(audit_events),
    delete(audit_events).where(audit_events.c.seq == EVENTS),
    *[update(audit_events).values({name: None}) for name in ("seq", "hash", "user_name")],
    *[update(audit_events).values({name: "x"}) for name in ("hash", "user_name", "facts", "event")],
    update(audit_events).values(at=START),
    update(audit_events).values(id=audit_events.c.id + 100),
    update(audit_events).values(seq=audit_events.c.seq + 100),
]


@pytest.mark.parametrize("statement", REFUSED, ids=str)
def test_the_database_refuses_to_change_a_sealed_event(sealed: Store, statement: Any) -> None:
    with pytest.raises(DBAPIError, match="append-only"), sealed.database.write() as connection:
        connection.execute(statement)
    assert head(sealed).seq == EVENTS


@pytest.mark.parametrize(
    "values", [{"facts": "{}"}, {"seq": 1}, {"hash": "0" * 64}, {"seq": 1, "hash": "0" * 64, "event": "x"}], ids=str
)
def test_an_unsealed_event_may_only_be_sealed(store: Store, clock: Clock, values: dict[str, Any]) -> None:
    note(store, clock, 1)
    with pytest.raises(DBAPIError, match="append-only"), store.database.write() as connection:
        connection.execute(update(audit_events).values(values))
    with pytest.raises(DBAPIError, match="append-only"), store.database.write() as connection:
        connection.execute(delete(audit_events))
    chain.seal(store.database)
    assert head(store).seq == 1


def test_no_event_is_replaced_or_truncated(sealed: Store) -> None:
    with sealed.database.read() as connection:
        row = dict(connection.execute(select(audit_events).limit(1)).mappings().one())
        sqlite = connection.dialect.name == "sqlite"
    replace = insert(audit_events).prefix_with("OR REPLACE").values(row | {"facts": "{}"})
    with pytest.raises(DBAPIError, match="append-only"), sealed.database.write() as connection:
        connection.execute(replace if sqlite else text("TRUNCATE audit_events"))
    assert head(sealed).seq == EVENTS


INSERTED = [
    {"seq": EVENTS + 1, "hash": "0" * 64},
    {"seq": EVENTS + 1, "hash": None},
    {"seq": EVENTS + 1000, "hash": "0" * 64},
    {"seq": 0, "hash": "0" * 64},
    {"seq": -1, "hash": "0" * 64},
    {"seq": None, "hash": "0" * 64},
]


@pytest.mark.parametrize("place", INSERTED, ids=str)
def test_an_event_that_is_inserted_with_a_place_of_its_own_breaks_the_chain(
    sealed: Store, clock: Clock, place: dict[str, Any]
) -> None:
    """ "Unproven" behind finding S22: an `INSERT` with a chosen `seq` is possible, and `verify` finds it."""
    values = {"at": clock(), "event": "challenge.accepted", "user_name": "mallory", "facts": "{}"}
    with sealed.database.write() as connection:
        connection.execute(insert(audit_events).values(values | place))
    note(sealed, clock, 1)
    chain.seal(sealed.database)
    with pytest.raises(chain.ChainBrokenError):
        head(sealed)


# --- sealing


def test_an_event_is_recorded_only_if_its_transaction_commits(store: Store, clock: Clock) -> None:
    with contextlib.suppress(ZeroDivisionError), store.database.write() as connection:
        record_event(connection, "challenge.opened", clock(), user="alice")
        _ = 1 // 0
    assert not chain.seal(store.database)


def test_sealing_continues_after_the_last_seal_and_keeps_its_limit(store: Store, clock: Clock) -> None:
    note(store, clock, 5)
    counts = [chain.seal(store.database, 2).total() for _ in range(4)]
    assert counts == [2, 2, 1, 0]
    note(store, clock, 1)
    chain.seal(store.database)
    assert head(store).seq == 6


def test_the_chain_does_not_depend_on_the_size_of_batches(store: Store, clock: Clock) -> None:
    note(store, clock, 7)
    while chain.seal(store.database, 3):
        pass
    assert len({head(store, batch=size) for size in (1, 2, 7, 8)}) == 1


def test_events_of_many_writers_are_sealed_once_each_by_many_sealers(store: Store) -> None:
    writers, each = 4, 10

    def write(number: int) -> int:
        clock = Clock()
        for _ in range(each):
            note(store, clock, 1, writer=number)
        return 0

    def keep_sealing(_: int) -> int:
        total = 0
        for _ in range(20):
            total += chain.seal(store.database, 5).total()
        return total

    with ThreadPoolExecutor(8) as pool:
        writing = pool.map(write, range(writers))
        total = sum(pool.map(keep_sealing, range(4)))
        list(writing)
    while done := chain.seal(store.database).total():
        total += done
    assert total == writers * each
    assert head(store).seq == writers * each
    with store.database.read() as connection:
        assert chain.count_unsealed(connection) == 0


# --- changes that are found


def rows(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(audit_events).order_by(audit_events.c.id)).mappings()]


@contextlib.contextmanager
def tampered(store: Store, after: list[dict[str, Any]]) -> Iterator[None]:
    with store.database.write() as connection:
        before = rows(connection)
        connection.execute(delete(audit_events))
        connection.execute(insert(audit_events), after)
    yield
    with store.database.write() as connection:
        connection.execute(delete(audit_events))
        connection.execute(insert(audit_events), before)


PLACES = st.integers(0, EVENTS - 1)
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "at": st.datetimes(timezones=st.just(START.tzinfo), min_value=START.replace(tzinfo=None)),  # type: ignore[arg-type]
    "event": st.text("abc.", max_size=20),
    "user_name": st.none() | st.text('abc" ,:', max_size=20),
    "facts": st.sampled_from(
        ['{"app":"x"}', "{}", "[]", "null", "", "not json", '{"app": "W\\u00edki\\u001b\\u007f"}']
    ),
    "hash": st.text("0123456789abcdef", min_size=64, max_size=64),
    "seq": st.integers(-5, EVENTS + 5),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_any_change_deletion_swap_or_insertion_is_found(unguarded: Store, data: st.DataObject) -> None:
    noted = head(unguarded)
    with unguarded.database.read() as connection:
        before = rows(connection)
    after = [dict(row) for row in before]
    match data.draw(st.sampled_from(["change", "delete", "swap", "insert"])):
        case "change":
            place, column = data.draw(PLACES), data.draw(st.sampled_from(sorted(CHANGES)))
            after[place][column] = data.draw(CHANGES[column])
        case "delete":
            del after[data.draw(PLACES)]
        case "swap":
            one, other = data.draw(PLACES), data.draw(PLACES)
            for column in data.draw(st.sampled_from([("seq",), ("seq", "hash"), ("facts", "user_name", "at")])):
                after[one][column], after[other][column] = after[other][column], after[one][column]
        case _:
            place = data.draw(PLACES)
            for row in after[place:]:
                row["seq"] += 1
            after.append(before[place] | {"id": 1000, "user_name": "mallory"})
    seqs = [row["seq"] for row in after]
    if after == before or len(set(seqs)) < len(seqs):  # the second the database refuses itself
        return
    with tampered(unguarded, after), pytest.raises(ChainBrokenError):
        head(unguarded, noted)
    assert head(unguarded, noted) == noted


def test_the_first_changed_event_is_named(unguarded: Store) -> None:
    with unguarded.database.write() as connection:
        connection.execute(update(audit_events).where(audit_events.c.seq.in_([3, 6])).values(user_name="mallory"))
    with pytest.raises(ChainBrokenError, match=r"^event 3 \(2026-11-22T12:00:03\.000000Z\)"):
        head(unguarded)


def test_only_a_noted_head_reveals_that_the_end_is_cut_off(unguarded: Store) -> None:
    noted = head(unguarded)
    with unguarded.database.write() as connection:
        connection.execute(delete(audit_events).where(audit_events.c.seq > 5))
    assert head(unguarded).seq == 5
    with pytest.raises(ChainBrokenError, match=f"event {EVENTS} was noted, the last one here is 5"):
        head(unguarded, noted)


def test_a_noted_head_reveals_a_chain_with_new_hashes(unguarded: Store) -> None:
    noted = head(unguarded)
    with unguarded.database.write() as connection:
        connection.execute(update(audit_events).values(seq=None, hash=None))
        connection.execute(update(audit_events).where(audit_events.c.user_name == "user3").values(user_name="mallory"))
    chain.seal(unguarded.database)
    assert head(unguarded).seq == EVENTS
    with pytest.raises(ChainBrokenError, match=f"event {EVENTS} is not the one that was noted"):
        head(unguarded, noted)


def test_a_noted_head_stays_valid_when_the_chain_grows(sealed: Store, clock: Clock) -> None:
    noted = head(sealed)
    note(sealed, clock)
    chain.seal(sealed.database)
    assert head(sealed, noted).seq == 2 * EVENTS


def test_an_event_with_a_hash_and_no_seq_is_found(unguarded: Store) -> None:
    with unguarded.database.write() as connection:
        connection.execute(update(audit_events).where(audit_events.c.seq == EVENTS).values(seq=None))
    with pytest.raises(ChainBrokenError, match="has a hash and no place"):
        head(unguarded)


def test_export_works_on_both_databases(store: Store, clock: Clock) -> None:
    store.users.add("alice", clock())
    (line,) = lines(store.database, None, None, "alice")
    assert json.loads(line)["event"] == "user.added"
