"""Counts the transfers that run at once, for each person and in total."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from sshaft_web.files import errors


class Transfers:
    """The limit of work at once. A transfer keeps some memory and a file of the host open."""

    def __init__(self, per_person: int, total: int) -> None:
        self._per_person = per_person
        self._total = total
        self._running: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return self._running.total()

    @contextmanager
    def one_of(self, person: Hashable) -> Iterator[None]:
        """Counts one transfer of a person while it runs. Raises `FileError` if there are too many."""
        if self._running[person] >= self._per_person or len(self) >= self._total:
            raise errors.too_many()
        self._running[person] += 1
        try:
            yield
        finally:
            self._running[person] -= 1
            if not self._running[person]:
                del self._running[person]
