"""Waiting, without a server: a list stands for the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.exc import OperationalError
from unit.identity.running import START, Clock

from sshaft_identity.challenge import Challenge, Context, State
from sshaft_identity.challenge_version import Version, version
from sshaft_identity.changes import AT_ONCE, Changes

PENDING = Challenge("c1", "alice", None, Context(), START, START + timedelta(minutes=5))


class Database:
    """One challenge, and how often the poller has looked at it."""

    def __init__(self) -> None:
        self.now = PENDING
        self.looks = 0
        self.failures = 0

    async def read(self) -> Challenge:
        return self.now

    def look(self, identifiers: list[str], now: datetime) -> dict[str, Version]:
        assert identifiers == ["c1"]
        self.looks += 1
        if self.looks <= self.failures:
            raise OperationalError("SELECT", {}, Exception("away"))
        return {"c1": version(self.now, now)}


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


def test_thousands_who_wait_are_looked_after_a_few_hundred_at_a_time() -> None:
    waited_for = [replace(PENDING, id=f"c{number}") for number in range(2 * AT_ONCE + 1)]
    sizes: list[int] = []

    def look(identifiers: list[str], now: datetime) -> dict[str, Version]:
        sizes.append(len(identifiers))
        return {each.id: version(replace(each, state=State.ACCEPTED), now) for each in waited_for}

    async def main() -> None:
        changes = Changes(look, Clock(), every=0.05)
        reads: dict[str, int] = {}

        async def wait(challenge: Challenge) -> Challenge:
            async def read() -> Challenge:
                reads[challenge.id] = reads.get(challenge.id, 0) + 1
                return challenge if reads[challenge.id] == 1 else replace(challenge, state=State.ACCEPTED)

            return await changes.wait(challenge, read, is_over, 60)

        ended = await asyncio.gather(*(wait(each) for each in waited_for))
        assert {each.state for each in ended} == {State.ACCEPTED}

    asyncio.run(main())
    assert max(sizes) == AT_ONCE


def test_who_is_told_of_changes_does_not_poll_and_looks_once_at_what_went_by() -> None:
    async def tell(changes: Changes, database: Database) -> None:
        database.now = replace(PENDING, state=State.ACCEPTED)
        await changes.told_of_all()

    database = Database()
    wait_and(tell, database, every=60, waiters=3)
    assert database.looks == 1


def test_polling_goes_on_while_nobody_tells() -> None:
    async def lose(changes: Changes, database: Database) -> None:
        await changes.told_of_all()
        looks = database.looks
        await asyncio.sleep(0.1)
        assert database.looks == looks
        changes.told_no_more()
        database.now = replace(PENDING, state=State.ACCEPTED)

    wait_and(lose, Database(), every=0.02, waiters=3)
