"""Tests waiting for changes. One challenge in memory takes the place of the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from service.service import START, Clock

from sshaft_identity.challenges.challenge import Challenge, Context, State
from sshaft_identity.database import changes as module
from sshaft_identity.database.changes import Changes

PENDING = Challenge("c1", "alice", None, Context(), START, START + timedelta(minutes=5))
ACCEPTED = replace(PENDING, state=State.ACCEPTED)


class Database:
    """One challenge, and the number of its readings."""

    def __init__(self) -> None:
        self.now = PENDING
        self.reads = 0

    async def read(self) -> Challenge:
        self.reads += 1
        return self.now


def is_over(challenge: Challenge) -> bool:
    return challenge.state is not State.PENDING


def wait_and(step: Callable[[Changes, Database], Awaitable[None]], database: Database, waiters: int) -> float:
    """Returns the seconds until a `step` has ended the waiting of all `waiters`."""

    async def main() -> float:
        changes = Changes(Clock())
        changes.source_connected()
        tasks = [asyncio.create_task(changes.wait(PENDING, database.read, is_over, 10)) for _ in range(waiters)]
        await asyncio.sleep(0.05)
        start = time.monotonic()
        await step(changes, database)
        await asyncio.gather(*tasks)
        return time.monotonic() - start

    return asyncio.run(main())


async def accept(changes: Changes, database: Database) -> None:
    database.now = ACCEPTED
    changes.notify([database.now])


async def accept_without_source(changes: Changes, database: Database) -> None:
    changes.source_lost()
    database.now = ACCEPTED
    changes.source_connected()


async def close(changes: Changes, _database: Database) -> None:
    changes.close()


def test_a_change_in_this_process_wakes_all_waiters_at_once() -> None:
    database = Database()
    assert wait_and(accept, database, waiters=50) < 1
    assert database.reads == 100, "each waiter reads at its beginning and when it is woken"


def test_waiters_read_again_when_the_source_is_back() -> None:
    database = Database()
    assert wait_and(accept_without_source, database, waiters=50) < 1
    assert database.reads == 100


def test_waiters_that_all_have_to_read_do_it_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READS_PER_SECOND", 50)
    assert wait_and(accept_without_source, Database(), waiters=50) > 0.5


def test_the_end_of_the_service_ends_all_waiting_without_a_reading() -> None:
    database = Database()
    assert wait_and(close, database, waiters=3) < 1
    assert database.reads == 3


def test_no_waiter_waits_after_the_end_of_the_service() -> None:
    async def main() -> float:
        database = Database()
        changes = Changes(Clock())
        changes.close()
        start = time.monotonic()
        await changes.wait(PENDING, database.read, is_over, 10)
        return time.monotonic() - start

    assert asyncio.run(main()) < 1


def test_a_waiter_that_is_not_woken_reads_nothing() -> None:
    async def main() -> int:
        database, changes = Database(), Changes(Clock())
        changes.source_connected()
        with changes.waiting(PENDING, database.read) as waiter:
            for _ in range(20):
                await waiter.until(is_over, 0.001)
        return database.reads

    assert asyncio.run(main()) == 1


def test_a_waiter_without_a_source_reads_again_and_again() -> None:
    async def main() -> tuple[int, Challenge]:
        database, changes = Database(), Changes(Clock())
        with changes.waiting(PENDING, database.read) as waiter:
            for _ in range(20):
                await waiter.until(is_over, 0.001)
            database.now = ACCEPTED
            return database.reads, await waiter.until(is_over, 0.001)

    assert asyncio.run(main()) == (20, ACCEPTED)


def test_a_subject_that_changes_while_it_is_read_is_read_again() -> None:
    async def main() -> Challenge:
        database, changes = Database(), Changes(Clock())
        changes.source_connected()

        async def read() -> Challenge:
            found = await database.read()
            if database.reads == 1:  # the accept comes between the query and its answer
                await accept(changes, database)
            return found

        return await changes.wait(PENDING, read, is_over, 10)

    assert asyncio.run(main()) == ACCEPTED


def test_a_change_after_the_callers_reading_is_seen_at_once() -> None:
    async def main() -> Challenge:
        database, changes = Database(), Changes(Clock())
        changes.source_connected()
        await accept(changes, database)
        return await changes.wait(PENDING, database.read, is_over, 10)

    assert asyncio.run(main()) == ACCEPTED


def test_an_expiry_ends_a_wait_without_a_reading() -> None:
    async def main() -> int:
        database, changes, clock = Database(), Changes(Clock()), Clock()
        changes.clock = clock
        clock.now = PENDING.expires_at - timedelta(milliseconds=50)

        def is_late(challenge: Challenge) -> bool:
            clock.now += timedelta(milliseconds=30)
            return challenge.state_at(clock.now) is State.EXPIRED

        await changes.wait(PENDING, database.read, is_late, 60)
        return database.reads

    assert asyncio.run(main()) == 1


def test_a_failed_reading_raises_in_its_waiter_and_ends_it() -> None:
    async def main() -> None:
        changes = Changes(Clock())

        async def fail() -> Challenge:
            raise OSError

        with pytest.raises(OSError):  # noqa: PT011 - the bare one from above
            await changes.wait(PENDING, fail, is_over, 10)
        assert not changes._waiters  # noqa: SLF001 - no method lists the waiters

    asyncio.run(main())
