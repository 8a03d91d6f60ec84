"""Bounds how many pages wait for news at a time: for each challenge, for each source address, and in this process.
A page that finds no place asks again every few seconds. So a stranger who takes many places only delays news.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sshaft.addresses import source_of


@dataclass(slots=True)
class Waiting:
    most: int = 5_000
    most_of_source: int = 1_000
    """A whole company may wait at one address."""
    most_of_challenge: int = 16
    """A person has one page, perhaps in some tabs. A page that is loaded again keeps its old place for some seconds."""
    _counts: Counter[str] = field(default_factory=Counter, init=False)

    @contextmanager
    def place(self, challenge: str, address: str | None) -> Iterator[bool]:
        """Takes a place for a page of `challenge` until the end of the context. Yields False if there is no place."""
        most = {
            "all": self.most,
            f"source {source_of(address or '')}": self.most_of_source,
            f"challenge {challenge}": self.most_of_challenge,
        }
        if any(self._counts[name] >= limit for name, limit in most.items()):
            yield False
            return
        self._counts.update(most.keys())
        try:
            yield True
        finally:
            self._counts.subtract(most.keys())
            for name in most:
                if not self._counts[name]:
                    del self._counts[name]
