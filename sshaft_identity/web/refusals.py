"""Decides which refused requests become events of their own, and counts the others: strangers can send any number."""

import threading
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=1)
MAX_ALIKE = 10
"""So many refusals of one kind, client and source become events of their own within `WINDOW`."""
MAX_OF_STRANGERS = 100
"""So many refusals without an authenticated client become events of their own within `WINDOW`, from all sources."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A kind of refusal. `client` is authenticated; `source` is the address that is counted (see `source_of`)."""

    face: str
    error: str
    reason: str
    client: str | None
    source: str | None


class Refusals:
    """Counts in this process only, and keeps a bounded number of counts. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: datetime | None = None
        self._written: Counter[Refusal] = Counter()
        self._of_strangers = 0
        self._left_out: Counter[Refusal] = Counter()

    def is_event(self, refusal: Refusal, now: datetime) -> bool:
        """Whether this refusal becomes an event of its own. If not, `take_counts` has it later."""
        with self._lock:
            if self._began is None or not self._began <= now < self._began + WINDOW:  # also: the clock was set back
                self._began, self._of_strangers = now, 0
                self._written.clear()
            if refusal.client is None and self._of_strangers >= MAX_OF_STRANGERS:
                known = refusal if refusal in self._written else replace(refusal, source=None)
                self._left_out[known] += 1
                return False
            if self._written[refusal] >= MAX_ALIKE:
                self._left_out[refusal] += 1
                return False
            self._written[refusal] += 1
            self._of_strangers += refusal.client is None
            return True

    def take_counts(self) -> Counter[Refusal]:
        """Returns how many refusals of each kind became no event since the last call."""
        with self._lock:
            counts, self._left_out = self._left_out, Counter()
            return counts
