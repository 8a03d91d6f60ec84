"""Counts wrong tokens by their source, because the provider is asked about each of them."""

import threading
from collections import Counter
from collections.abc import Callable

_MOST = 30
"""Wrong tokens of one source in a minute."""


class Failures:
    """The wrong tokens of this minute. Safe for several threads. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: Counter[str] = Counter()

    def add(self, source: str) -> None:
        with self._lock:
            self._forget()
            self._counts[source] += 1

    def are_too_many(self, source: str) -> bool:
        """Whether no more tokens of this source are shown to the provider in this minute."""
        with self._lock:
            self._forget()
            return self._counts[source] >= _MOST

    def _forget(self) -> None:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._counts = minute, Counter()
