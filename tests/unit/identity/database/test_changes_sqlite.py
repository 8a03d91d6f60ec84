"""Tests looks into the audit log of a real SQLite file, and which waiters they wake."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from service.service import Clock, migrated, new_store
from sqlalchemy import event, func, select, text

from sshaft_identity.audit import chain
from sshaft_identity.audit.log import record_event
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.database import backup
from sshaft_identity.database.changes import Changes, Waiter
from sshaft_identity.database.changes_sqlite import MAX_EVENTS, Follower
from sshaft_identity.database.tables import audit_events
from sshaft_identity.service import background
from sshaft_identity.store import Store

WAITERS = 1000
KEY = b"k" * 32


@dataclass
class Place:
    """Many waiters in one process. The test acts as another process."""

    store: Store
    clock: Clock
    changes: Changes
    follower: Follower
    challenges: list[Challenge] = field(default_factory=list)
    waiters: list[Waiter[Challenge]] = field(default_factory=list)

    def woken(self) -> list[int]:
        """Returns the numbers of the waiters that were woken since the last call."""
        numbers = [number for number, waiter in enumerate(self.waiters) if waiter.woken.is_set()]
        for waiter in self.waiters:
            waiter.woken.clear()
        return numbers

    def cancel(self, number: int) -> None:
        assert self.store.challenges.cancel(self.challenges[number].id, self.clock())

    async def all_were_woken(self) -> bool:
        """Whether all waiters are woken, one after the other."""
        for _ in range(300):
            if all(waiter.woken.is_set() for waiter in self.waiters):
                return True
            await asyncio.sleep(0.1)
        return False


async def never() -> Challenge | None:
    pytest.fail("no waiter reads here")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


def run(store: Store, act: Callable[[Place], Awaitable[None]], waiters: int = 3) -> None:
    """Runs `act` with so many waiters after their first reading. The first three wait for real challenges."""

    async def main() -> None:
        clock = Clock()
        changes = Changes(clock)
        place = Place(store, clock, changes, Follower(store.database, changes))
        real = [store.challenges.open(Wish(None, timedelta(minutes=5)), clock()).challenge for _ in range(3)]
        place.challenges = real + [replace(real[0], id=f"{number:032x}") for number in range(3, waiters)]
        assert not await place.follower.look()
        with ExitStack() as stack:
            place.waiters = [stack.enter_context(changes.waiting(each, never)) for each in place.challenges]
            place.woken()
            await act(place)

    asyncio.run(main())


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, tuple[object, ...]]]]:
    """Yields the list of executed statements."""
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: tuple[object, ...], *_: object) -> None:
        if statement != "BEGIN":
            asked.append((statement, parameters))

    event.listen(store.database.engine, "before_cursor_execute", note)
    yield asked
    event.remove(store.database.engine, "before_cursor_execute", note)


def test_a_look_without_changes_reads_one_row_for_a_thousand_waiters(store: Store) -> None:
    async def act(place: Place) -> None:
        with statements(store) as asked:
            assert not await place.follower.look()
        ((statement, parameters),) = asked
        assert statement.startswith("SELECT")
        with store.database.read() as connection:
            assert len(connection.exec_driver_sql(statement, parameters).all()) == 1
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            assert [row.detail for row in plan] == ["SEARCH audit_events USING INTEGER PRIMARY KEY (rowid>?)"]
        assert place.woken() == []

    run(store, act, WAITERS)


def test_a_change_wakes_only_its_own_waiters(store: Store) -> None:
    async def act(place: Place) -> None:
        place.cancel(1)
        with statements(store) as asked:
            assert not await place.follower.look()
        assert len(asked) == 1
        assert place.woken() == [1]
        assert not await place.follower.look()
        assert place.woken() == [], "once"

    run(store, act, WAITERS)


def test_a_step_that_waiters_cannot_see_wakes_no_waiter(store: Store) -> None:
    async def act(place: Place) -> None:
        store.challenges.show(place.challenges[0], place.clock(), None)
        assert not await place.follower.look()
        assert place.woken() == []

    run(store, act)


def test_earlier_waiters_are_woken_by_the_first_look(store: Store) -> None:
    async def act(place: Place) -> None:
        assert place.changes.has_source
        late = Follower(store.database, place.changes)
        place.cancel(0)
        assert not await late.look()
        assert await place.all_were_woken()

    run(store, act)


def test_a_look_reads_a_limited_number_of_events_and_the_next_look_continues(store: Store) -> None:
    async def act(place: Place) -> None:
        place.cancel(0)
        with store.database.write() as connection:
            for _ in range(2 * MAX_EVENTS):
                record_event(connection, "user.added", place.clock(), user="alice")
        place.cancel(1)
        looks = [(await place.follower.look(), place.woken()) for _ in range(3)]
        assert looks == [(True, [0]), (True, []), (False, [1])]

    run(store, act)


def test_sealing_wakes_no_waiter_and_hides_no_change(store: Store) -> None:
    async def act(place: Place) -> None:
        place.cancel(1)
        chain.seal_all(store.database)
        assert not await place.follower.look()
        assert place.woken() == [1]
        chain.seal_all(store.database)
        assert not await place.follower.look()
        assert place.woken() == []

    run(store, act)


def last_event(store: Store) -> int:
    with store.database.read() as connection:
        return connection.scalar(select(func.max(audit_events.c.id))) or 0


@pytest.mark.parametrize("events", [1, 50], ids=["with lower ids", "with higher ids"])
def test_a_restored_database_wakes_all_waiters(store: Store, tmp_path: Path, events: int) -> None:
    (tmp_path / "other").mkdir()
    file = tmp_path / "backup.gz"
    with migrated(f"sqlite:///{tmp_path / 'other' / 'identity.db'}") as other:
        then = Clock().advance(-3600)
        for number in range(events):
            other.users.add(f"user{number}", then)
        backup.write(other.database, file, KEY, then, quietly)

    async def act(place: Place) -> None:
        before = last_event(store)
        backup.restore(store.database, backup.verified(file), quietly, replace=True)
        assert (last_event(store) > before) is (events > before)
        assert not await place.follower.look()
        assert await place.all_were_woken()
        place.woken()
        opened = store.challenges.open(Wish("alice", timedelta(minutes=5)), place.clock())
        with place.changes.waiting(opened.challenge, never) as waiter:
            waiter.woken.clear()
            store.challenges.cancel(opened.challenge.id, place.clock())
            assert not await place.follower.look()
            assert waiter.woken.is_set(), "the next look continues from there"

    run(store, act)


@contextmanager
def quietly(_total: int) -> Iterator[Callable[[int], None]]:
    yield lambda _done: None


def test_a_failed_look_is_logged_once_and_misses_no_change(store: Store, events: io.StringIO) -> None:
    def rename(before: str, after: str) -> None:
        with store.database.write() as connection:
            connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    async def act(place: Place) -> None:
        following = asyncio.create_task(background.follow_changes(store.database, place.changes, every=0.02))
        assert await place.all_were_woken()
        place.woken()
        place.cancel(1)
        rename("audit_events", "away")
        await asyncio.sleep(0.3)
        rename("away", "audit_events")
        async with asyncio.timeout(30):
            await place.waiters[1].woken.wait()
        following.cancel()
        await asyncio.wait([following])
        assert not place.changes.has_source

    run(store, act)
    assert events.getvalue().count("changes.look_failed") == 1


def test_malformed_facts_wake_no_waiter_and_stop_no_look(store: Store) -> None:
    async def act(place: Place) -> None:
        with store.database.write() as connection:
            connection.execute(text("INSERT INTO audit_events (at, event, facts) VALUES (1, 'odd', '{\"challenge\":')"))
        place.cancel(2)
        assert not await place.follower.look()
        assert place.woken() == [2]

    run(store, act)
