"""Limits how often a person opens terminals: sshd counts all logins from here as those of one address."""

from collections import deque
from collections.abc import Callable

from sshaft_web.people.sessions import Person

MOST = 30
SECONDS = 60.0


class Pace:
    """The last openings of each person. `clock` is in seconds, and never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: dict[Person, deque[float]] = {}

    def __len__(self) -> int:
        return len(self._times)

    def takes(self, person: Person) -> bool:
        """Whether the person may open one more now. If so, it is counted."""
        times = self._times.setdefault(person, deque(maxlen=MOST))
        if len(times) == MOST and self._clock() - times[0] < SECONDS:
            return False
        times.append(self._clock())
        return True

    def forget(self) -> None:
        """Forgets what counts no more."""
        since = self._clock() - SECONDS
        self._times = {person: times for person, times in self._times.items() if times[-1] > since}
