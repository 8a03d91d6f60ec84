"""Tests that requests share a transaction on SQLite, fail alone, and are answered after the commit."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

import pytest
from service.service import Clock
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from sshaft_identity.challenges.challenges import Opened, Wish
from sshaft_identity.database.batches import MAX_WAIT_SECONDS, Batches
from sshaft_identity.database.database import UNAVAILABLE
from sshaft_identity.store import Store

WORD: ContextVar[str] = ContextVar("WORD", default="")


def open_for(store: Store, user: str, clock: Clock) -> Callable[[], Opened]:
    return lambda: store.challenges.open(Wish(user, timedelta(minutes=5)), clock())


async def at_once(batches: Batches, works: Sequence[Callable[[], object]]) -> list[object]:
    """Runs all works as one batch: the first work keeps the thread busy until the others wait."""
    waiting = threading.Event()
    first = asyncio.gather(batches.run(waiting.wait), return_exceptions=True)
    await asyncio.sleep(0)
    rest = asyncio.gather(*(batches.run(work) for work in works), return_exceptions=True)
    await asyncio.sleep(0)
    waiting.set()
    await first
    return await rest


@pytest.fixture
def commits(on_sqlite: Store) -> Iterator[list[str]]:
    counted: list[str] = []

    def note(_connection: object) -> None:
        counted.append("commit")

    event.listen(on_sqlite.database.engine, "commit", note)
    yield counted
    event.remove(on_sqlite.database.engine, "commit", note)


def test_requests_that_wait_together_share_one_commit(on_sqlite: Store, clock: Clock, commits: list[str]) -> None:
    batches = Batches(on_sqlite.database.together)
    asyncio.run(at_once(batches, [open_for(on_sqlite, f"user{number}", clock) for number in range(20)]))
    assert len(commits) == 1
    assert len(on_sqlite.challenges.recent()) == 20


def test_a_request_that_waited_too_long_is_refused_and_changes_nothing() -> None:
    now = [0.0]
    batches = Batches(most=1, clock=lambda: now[0])
    done: list[str] = []

    async def three() -> list[object]:
        release = threading.Event()
        first = asyncio.ensure_future(batches.run(release.wait))
        await asyncio.sleep(0)
        late = asyncio.ensure_future(batches.run(lambda: done.append("late")))
        await asyncio.sleep(0)
        now[0] += MAX_WAIT_SECONDS + 1
        soon = asyncio.ensure_future(batches.run(lambda: done.append("soon")))
        await asyncio.sleep(0)
        release.set()
        return await asyncio.gather(first, late, soon, return_exceptions=True)

    _, late, _ = asyncio.run(three())
    assert isinstance(late, UNAVAILABLE)
    assert done == ["soon"]


def test_a_failed_request_is_undone_alone(on_sqlite: Store, clock: Clock) -> None:
    def fail() -> None:
        with on_sqlite.database.write() as connection:
            connection.execute(text("DELETE FROM challenges"))
            raise ZeroDivisionError

    batches = Batches(on_sqlite.database.together)
    works = [open_for(on_sqlite, "alice", clock), fail, open_for(on_sqlite, "bob", clock)]
    alice, failed, bob = asyncio.run(at_once(batches, works))
    assert isinstance(failed, ZeroDivisionError)
    assert {each.challenge.id for each in (alice, bob) if isinstance(each, Opened)} == {
        each.id for each in on_sqlite.challenges.recent()
    }


def test_a_request_reads_the_writes_of_the_request_before(on_sqlite: Store, clock: Clock) -> None:
    def count() -> int:
        return len(on_sqlite.challenges.recent())

    batches = Batches(on_sqlite.database.together)
    assert asyncio.run(at_once(batches, [count, open_for(on_sqlite, "alice", clock), count]))[::2] == [0, 1]


def test_a_transaction_that_sqlite_undoes_fails_all_its_requests_and_the_next_succeeds(
    on_sqlite: Store, clock: Clock
) -> None:
    def break_down() -> None:
        with on_sqlite.database.write() as connection:
            connection.exec_driver_sql("ROLLBACK")  # as SQLite does by itself after some errors of the disk

    batches = Batches(on_sqlite.database.together)
    works = [open_for(on_sqlite, "alice", clock), break_down, open_for(on_sqlite, "bob", clock)]
    assert [type(each) for each in asyncio.run(at_once(batches, works))] == [OperationalError] * 3
    assert on_sqlite.challenges.recent() == []
    (again,) = asyncio.run(at_once(batches, [open_for(on_sqlite, "alice", clock)]))
    assert isinstance(again, Opened)
    assert [each.id for each in on_sqlite.challenges.recent()] == [again.challenge.id]


def test_a_failed_commit_fails_all_its_requests() -> None:
    @contextmanager
    def around() -> Iterator[None]:
        yield
        raise OSError

    results = asyncio.run(at_once(Batches(around), [lambda: 1, lambda: 2]))
    assert [type(each) for each in results] == [OSError, OSError]


def test_work_runs_in_the_context_of_its_caller() -> None:
    @contextmanager
    def around() -> Iterator[None]:
        yield

    async def ask(batches: Batches, word: str) -> str:
        WORD.set(word)
        return await batches.run(WORD.get)

    async def main() -> list[str]:
        batches = Batches(around)
        return list(await asyncio.gather(*(ask(batches, word) for word in "abc")))

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_a_cancelled_request_does_not_disturb_the_others() -> None:
    @contextmanager
    def around() -> Iterator[None]:
        yield

    async def main() -> int:
        batches, waiting = Batches(around), threading.Event()
        first = asyncio.create_task(batches.run(waiting.wait))
        gone, stays = (asyncio.create_task(batches.run(lambda: 7)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        waiting.set()
        await first
        return await stays

    assert asyncio.run(main()) == 7
