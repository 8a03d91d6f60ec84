"""Defines deadlines: the time for a whole action with its retries."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Returns the seconds that are left, never below 0."""
        return max(0.0, self.at - time.monotonic())
