"""Bounds the logins that wait for a person, and ends the waits when the agent stops."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager


class StoppingError(Exception):
    """The agent stops while it waits for a person."""


class TooManyError(Exception):
    """Too many logins of this name wait already."""


class Waiting:
    """The logins that wait. `count` is their number. Used on the event loop alone. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._clock = clock
        self._minute = 0
        self._begun: Counter[str] = Counter()
        self._names: Counter[str] = Counter()
        self._is_stopping = False
        self._waits: set[asyncio.Timeout] = set()

    def may_begin(self, name: str, limit: int) -> bool:
        """Whether fewer than `limit` logins of this name have begun in this minute. If so, this one counts."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._begun = minute, Counter()
        if self._begun[name] >= limit:
            return False
        self._begun[name] += 1
        return True

    @contextmanager
    def place(self, limits: Mapping[str, int]) -> Iterator[None]:
        """Counts a login for each name until the end of the body. Raises `TooManyError` at a limit."""
        for name, limit in limits.items():
            if self._names[name] >= limit:
                raise TooManyError(f"{limit} logins wait already: {name}")
        self._names.update(limits.keys())
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            self._names.subtract(limits.keys())
            for name in limits:
                if not self._names[name]:
                    del self._names[name]

    @asynccontextmanager
    async def until_stop(self) -> AsyncIterator[None]:
        """Ends a body that waits for a person with `StoppingError` when the agent stops."""
        try:
            async with asyncio.timeout(0 if self._is_stopping else None) as wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            raise StoppingError from None

    def stop(self) -> None:
        """Ends all waits, now and from now on."""
        self._is_stopping = True
        for wait in self._waits:
            wait.reschedule(0)
