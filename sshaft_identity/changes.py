"""Waiting for a challenge to change: long polls and pages. A change made by this process wakes its waiters at once; of
the changes of others (the commands, another process) PostgreSQL tells, see `listener`. On SQLite, and while nobody
listens to PostgreSQL, one poller looks after them for all, as long as somebody waits.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from sshaft.log import get_logger
from sshaft_identity.challenge import Challenge
from sshaft_identity.challenge_version import Version, version
from sshaft_identity.database import reason

POLL_SECONDS = 0.5
AT_ONCE = 500
"""How many challenges one look asks for: a query has a limited number of parameters."""


@dataclass(eq=False)
class _Waiter:
    seen: Version | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Changes:
    def __init__(
        self,
        look: Callable[[list[str], datetime], dict[str, Version]],
        clock: Callable[[], datetime],
        every: float = POLL_SECONDS,
    ) -> None:
        """`look` reads what there is to see of challenges from the database, in a thread."""
        self._look = look
        self._clock = clock
        self._every = every
        self._waiters: defaultdict[str, set[_Waiter]] = defaultdict(set)
        self._poller: asyncio.Task[None] | None = None
        self._is_told = False
        self._closed = False

    def notify(self, challenges: Iterable[Challenge]) -> None:
        """Wake those who wait for these. Call it in the event loop."""
        for challenge in challenges:
            self.wake(challenge.id)

    def wake(self, identifier: str) -> None:
        for waiter in self._waiters.get(identifier, ()):
            waiter.woken.set()

    async def told_of_all(self) -> None:
        """From now on every change comes to `wake`. What went by before that is looked for once, in the database."""
        self._is_told = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                if waiter.seen is None:  # its first look may be under way, and may be too early
                    waiter.woken.set()
        await self._look_at_all()

    def told_no_more(self) -> None:
        self._is_told = False

    def close(self) -> None:
        """The service ends: everybody is answered now."""
        self._closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()

    async def wait(
        self,
        challenge: Challenge,
        read: Callable[[], Awaitable[Challenge | None]],
        done: Callable[[Challenge], bool],
        seconds: float,
    ) -> Challenge:
        """The challenge, as soon as it is `done` or changed so; after `seconds`, or when the service ends, as it is."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        with self._waiting(challenge.id) as waiter:  # before the first look: nothing may slip in between
            while True:
                waiter.woken.clear()
                challenge = await read() or challenge
                left = deadline - loop.time()
                if done(challenge) or left <= 0 or self._closed:
                    return challenge
                waiter.seen = version(challenge, self._clock())
                until_expiry = (challenge.expires_at - self._clock()).total_seconds()
                await _event(waiter.woken, min(left, until_expiry) if until_expiry > 0 else left)

    @contextmanager
    def _waiting(self, identifier: str) -> Iterator[_Waiter]:
        waiter = _Waiter()
        self._waiters[identifier].add(waiter)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            yield waiter
        finally:
            self._waiters[identifier].discard(waiter)
            if not self._waiters[identifier]:
                del self._waiters[identifier]

    async def _poll(self) -> None:
        while self._waiters and not self._closed:
            await asyncio.sleep(self._every)
            if not self._is_told:
                await self._look_at_all()

    async def _look_at_all(self) -> None:
        waited_for = list(self._waiters)
        for start in range(0, len(waited_for), AT_ONCE):
            some = waited_for[start : start + AT_ONCE]
            try:
                versions = await run_in_threadpool(self._look, some, self._clock())
            except SQLAlchemyError as error:  # the waiters wait on; the next look may succeed
                get_logger().warning("changes.poll_failed", reason=reason(error))
                return
            self._compare(some, versions)

    def _compare(self, identifiers: Iterable[str], versions: dict[str, Version]) -> None:
        for identifier in identifiers:
            for waiter in self._waiters.get(identifier, ()):
                if waiter.seen not in (None, versions.get(identifier)):
                    waiter.woken.set()


async def _event(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
