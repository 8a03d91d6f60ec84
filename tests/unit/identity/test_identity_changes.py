"""Waiting, without a server: a list stands for the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.exc import OperationalError
from unit.identity.running import START, Clock

from sshaft_identity.challenge import Challenge, Context, State
from sshaft_identity.changes import Changes

PENDING = Challenge("c1", "alice", None, Context(), START, START + timedelta(minutes=5))


class Database:
    """One challenge, and how often the poller has looked at it."""

    def __init__(self) -> None:
        self.now = PENDING
        self.looks = 0
        self.failures = 0

    async def read(self) -> Challenge:
        return self.now

    def look(self, identifiers: list[str]) -> list[Challenge]:
        assert identifiers == ["c1"]
        self.looks += 1
        if self.looks <= self.failures:
            raise OperationalError("SELECT", {}, Exception("away"))
        return [self.now]


def is_over(challenge: Challenge) -> bool:
    return challenge.state is not State.PENDING


def wait_and(
    step: Callable[[Changes, Database], Awaitable[None]], database: Database, every: float, waiters: int
) -> float:
    """Seconds until `waiters` have heard of what `step` does after they began to wait."""

    async def main() -> float:
        changes = Changes(database.look, Clock(), every)
        tasks = [asyncio.create_task(changes.wait(PENDING, database.read, is_over, 10)) for _ in range(waiters)]
        await asyncio.sleep(0.05)
        start = time.monotonic()
        await step(changes, database)
        await asyncio.gather(*tasks)
        return time.monotonic() - start

    return asyncio.run(main())


async def accept(changes: Changes, database: Database) -> None:
    database.now = replace(PENDING, state=State.ACCEPTED)
    changes.notify([database.now])


async def accept_elsewhere(_changes: Changes, database: Database) -> None:
    database.now = replace(PENDING, state=State.ACCEPTED)


async def close(changes: Changes, _database: Database) -> None:
    changes.close()


def test_a_change_in_this_process_wakes_all_at_once_without_a_look_at_the_database() -> None:
    database = Database()
    assert wait_and(accept, database, every=60, waiters=50) < 0.5
    assert database.looks == 0


def test_one_poller_looks_for_all_who_wait() -> None:
    database = Database()
    assert wait_and(accept_elsewhere, database, every=0.1, waiters=50) < 1
    assert database.looks <= 3


def test_a_poll_that_fails_is_not_the_last() -> None:
    database = Database()
    database.failures = 2
    assert wait_and(accept_elsewhere, database, every=0.05, waiters=1) < 1
    assert database.looks == 3


def test_the_end_of_the_service_answers_everybody() -> None:
    assert wait_and(close, Database(), every=60, waiters=3) < 0.5


def test_nobody_polls_when_nobody_waits_any_more() -> None:
    async def main() -> int:
        database = Database()
        changes = Changes(database.look, Clock(), every=0.02)
        await changes.wait(PENDING, database.read, is_over, 0.1)
        await asyncio.sleep(0.05)
        looks = database.looks
        await asyncio.sleep(0.1)
        return database.looks - looks

    assert asyncio.run(main()) == 0


def test_after_the_end_of_the_service_nobody_waits() -> None:
    async def main() -> float:
        database = Database()
        changes = Changes(database.look, Clock())
        changes.close()
        start = time.monotonic()
        await changes.wait(PENDING, database.read, is_over, 10)
        return time.monotonic() - start

    assert asyncio.run(main()) < 0.5
