"""Wakes long polls and live pages when a challenge or an enrolment changes.

A change by this process wakes its waiters at once. `changes_sqlite` or `changes_postgresql` reports the changes of
other processes. A waiter that is not woken reads nothing.
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
"""PostgreSQL's channel for changes. A message is an id, or empty if everything may have changed (`restore`)."""
READS_PER_SECOND = 500
"""The most waiters that read per second when all have to read: other requests need the database, too."""


class Subject(Protocol):
    """A challenge or an enrolment."""

    @property
    def id(self) -> str: ...
    @property
    def expires_at(self) -> datetime: ...


S = TypeVar("S", bound=Subject)


class Changes:
    """Knows all waiters of this process. Its methods are called in the event loop."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self._waiters: defaultdict[str, set[Waiter[Any]]] = defaultdict(set)
        self._has_source = False
        self._closed = False

    def notify(self, subjects: Iterable[Subject]) -> None:
        """Wakes the waiters for these subjects."""
        for subject in subjects:
            self.wake(subject.id)

    def wake(self, identifier: str) -> None:
        for waiter in self._waiters.get(identifier, ()):
            waiter.woken.set()

    def source_connected(self) -> None:
        """Notes that a source reports every change to `wake` from now on. All waiters read earlier changes once."""
        self._has_source = True
        self.wake_all()

    def wake_all(self) -> None:
        """Wakes all waiters, one after the other (READS_PER_SECOND)."""
        loop = asyncio.get_running_loop()
        all_waiters = [waiter for waiters in self._waiters.values() for waiter in waiters]
        for place, waiter in enumerate(all_waiters):
            loop.call_later(place / READS_PER_SECOND, waiter.woken.set)

    def source_lost(self) -> None:
        """Notes that no source reports changes any more: a waiter reads at each call of `Waiter.until`."""
        self._has_source = False

    @property
    def has_source(self) -> bool:
        return self._has_source

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Ends all waiting at once, because the service ends."""
        self._closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()

    async def wait(
        self, subject: S, read: Callable[[], Awaitable[S | None]], done: Callable[[S], bool], seconds: float
    ) -> S:
        """Waits once, see `Waiter.until`."""
        with self.waiting(subject, read) as waiter:
            return await waiter.until(done, seconds)

    @contextmanager
    def waiting(self, subject: S, read: Callable[[], Awaitable[S | None]]) -> "Iterator[Waiter[S]]":
        """Yields a waiter for the subject. `read` reads the subject again."""
        waiter = Waiter(self, subject, read)
        self._waiters[subject.id].add(waiter)
        try:
            yield waiter
        finally:
            self._waiters[subject.id].discard(waiter)
            if not self._waiters[subject.id]:
                del self._waiters[subject.id]


class Waiter(Generic[S]):
    """Waits for one subject. `subject` is the state that was read last."""

    def __init__(self, changes: Changes, subject: S, read: Callable[[], Awaitable[S | None]]) -> None:
        self.subject = subject
        self.woken = asyncio.Event()
        self.woken.set()  # the subject may have changed between its reading and now
        self._changes = changes
        self._read = read

    async def until(self, done: Callable[[S], bool], seconds: float) -> S:
        """Returns the subject when it is `done`. After `seconds`, or when the service ends, returns it as it is."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        if not self._changes.has_source:
            self.woken.set()
        while True:
            if self.woken.is_set() and not self._changes.closed:
                self.woken.clear()  # before the reading, so that no change is missed
                self.subject = await self._read() or self.subject
            left = deadline - loop.time()
            if done(self.subject) or left <= 0 or self._changes.closed:
                return self.subject
            until_expiry = (self.subject.expires_at - self._changes.clock()).total_seconds()
            await _event(self.woken, min(left, until_expiry) if until_expiry > 0 else left)

    async def pause(self, seconds: float) -> None:
        """Waits until a change wakes the waiter, or for `seconds`. Then the next `until` reads the subject."""
        await _event(self.woken, seconds)
        self.woken.set()


async def watch_clock(changes: Changes, every: float = 0.5) -> None:
    """Watches for a clock that was set, until cancelled. Then all waiters read: a challenge may have expired."""
    watch = ClockWatch(lambda: changes.clock().timestamp())
    while True:
        if seconds := watch.jumped():
            get_logger().error("clock.jumped", seconds=round(seconds))
            changes.wake_all()
        await asyncio.sleep(every)


async def _event(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
