"""The circuit breaker: while the identity service is down, "no keys" costs nothing and nobody waits for it."""

THRESHOLD = 3
"""Failures in a row that open it."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 10.0


class Breaker:
    """Closed: calls go out. Open: they don't, but for one trial after each pause; its success closes the breaker.

    Used from one thread; `now` is the monotonic clock.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._trial_at = 0.0
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        return self._failures >= THRESHOLD

    def allows(self, now: float) -> bool:
        """Whether a call may go out now. Whoever is told yes reports `succeeded` or `failed`."""
        if not self.is_open:
            return True
        if self._on_trial or now < self._trial_at:
            return False
        self._on_trial = True
        return True

    def succeeded(self) -> bool:
        """Whether this closed it."""
        was_open = self.is_open
        self.__init__()  # type: ignore[misc]
        return was_open

    def failed(self, now: float) -> bool:
        """Whether this opened it."""
        was_open = self.is_open
        self._failures += 1
        if self.is_open:
            if was_open and self._on_trial:
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self._on_trial = False
            self._trial_at = now + self._pause
        return self.is_open and not was_open
