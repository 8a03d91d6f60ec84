"""Waiting for a challenge or an enrolment to change: long polls and pages. A change made by this process wakes its
waiters at once; of all others `follower` (SQLite) or `listener` (PostgreSQL) tells. Who is not woken reads nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from sshaft.clocks import ClockWatch
from sshaft.log import get_logger

CHANNEL = "sshaft_changes"
"""Where PostgreSQL tells: an id, or nothing if everything may be another (`restore`)."""
READS_PER_SECOND = 500
"""How many look anew where all have to: the threads and the database are there for others, too."""


class Subject(Protocol):
    """What can be waited for."""

    @property
    def id(self) -> str: ...
    @property
    def expires_at(self) -> datetime: ...


S = TypeVar("S", bound=Subject)


class Changes:
    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self._waiters: defaultdict[str, set[Waiter[Any]]] = defaultdict(set)
        self._has_source = False
        self._closed = False

    def notify(self, subjects: Iterable[Subject]) -> None:
        """Wake those who wait for these. Call it in the event loop."""
        for subject in subjects:
            self.wake(subject.id)

    def wake(self, identifier: str) -> None:
        for waiter in self._waiters.get(identifier, ()):
            waiter.woken.set()

    def source_connected(self) -> None:
        """From now on every change comes to `wake`. What went by before that everybody looks for once."""
        self._has_source = True
        self.wake_everybody()

    def wake_everybody(self) -> None:
        """One after the other."""
        loop = asyncio.get_running_loop()
        everybody = [waiter for waiters in self._waiters.values() for waiter in waiters]
        for place, waiter in enumerate(everybody):
            loop.call_later(place / READS_PER_SECOND, waiter.woken.set)

    def source_lost(self) -> None:
        """From now on who waits looks at each beginning of `Waiter.until`."""
        self._has_source = False

    @property
    def has_source(self) -> bool:
        return self._has_source

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """The service ends: everybody is answered now."""
        self._closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()

    async def wait(
        self, subject: S, read: Callable[[], Awaitable[S | None]], done: Callable[[S], bool], seconds: float
    ) -> S:
        """As `Waiter.until`, for those who wait once."""
        with self.waiting(subject, read) as waiter:
            return await waiter.until(done, seconds)

    @contextmanager
    def waiting(self, subject: S, read: Callable[[], Awaitable[S | None]]) -> "Iterator[Waiter[S]]":
        """`read` reads the subject anew."""
        waiter = Waiter(self, subject, read)
        self._waiters[subject.id].add(waiter)
        try:
            yield waiter
        finally:
            self._waiters[subject.id].discard(waiter)
            if not self._waiters[subject.id]:
                del self._waiters[subject.id]


class Waiter(Generic[S]):
    """Somebody who waits for one subject; `subject` is how it was when it was last read."""

    def __init__(self, changes: Changes, subject: S, read: Callable[[], Awaitable[S | None]]) -> None:
        self.subject = subject
        self.woken = asyncio.Event()
        self.woken.set()  # it may have changed since it was read, before anybody would wake us
        self._changes = changes
        self._read = read

    async def until(self, done: Callable[[S], bool], seconds: float) -> S:
        """The subject, as soon as it is `done`; after `seconds`, or when the service ends, as it is."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        if not self._changes.has_source:
            self.woken.set()
        while True:
            if self.woken.is_set() and not self._changes.closed:
                self.woken.clear()  # before the look: nothing may slip in between
                self.subject = await self._read() or self.subject
            left = deadline - loop.time()
            if done(self.subject) or left <= 0 or self._changes.closed:
                return self.subject
            until_expiry = (self.subject.expires_at - self._changes.clock()).total_seconds()
            await _event(self.woken, min(left, until_expiry) if until_expiry > 0 else left)


async def watch_clock(changes: Changes, every: float = 0.5) -> None:
    """Until cancelled: a clock that was set is told of, and may be news for all who wait for something to expire."""
    watch = ClockWatch(lambda: changes.clock().timestamp())
    while True:
        if seconds := watch.jumped():
            get_logger().error("clock.jumped", seconds=round(seconds))
            changes.wake_everybody()
        await asyncio.sleep(every)


async def _event(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
