"""Lets calls fail at once while the identity service is down (a circuit breaker)."""

THRESHOLD = 3
"""The number of failures in a row that open the breaker."""
_FIRST_PAUSE = 1.0
LONGEST_PAUSE = 10.0


class Breaker:
    """Lets all calls through while closed, and one trial call after each pause while open.

    The success of a call closes the breaker. Used from one thread; `now` is the monotonic clock.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self._trial_at = 0.0
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        return self._failures >= THRESHOLD

    def allows(self, now: float) -> bool:
        """Whether a call may go out now. After a yes the caller must report `succeeded` or `failed`."""
        if not self.is_open:
            return True
        if self._on_trial or now < self._trial_at:
            return False
        self._on_trial = True
        return True

    def succeeded(self) -> bool:
        """Records a success. Returns whether the breaker was open until now."""
        was_open = self.is_open
        self._reset()
        return was_open

    def failed(self, now: float) -> bool:
        """Records a failure. Returns whether this failure opened the breaker."""
        was_open = self.is_open
        self._failures += 1
        if self.is_open:
            if self._on_trial:
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self._on_trial = False
            self._trial_at = now + self._pause
        return self.is_open and not was_open
