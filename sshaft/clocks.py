"""Measures wrong clocks: of another host against this host's, and of this host when somebody sets it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_MIN_JUMP = 10.0
"""Seconds. NTP's usual corrections are smaller."""
_CORRECTION_STEP = 10.0
"""Seconds. A correction is in whole steps, because `Date` has no fractions and an answer takes time: the same
difference must give the same correction with every answer."""
_MAX_CORRECTION = timedelta(days=1)


def ahead_of(date: str | None, now: datetime) -> timedelta | None:
    """Returns how far `now`, this host's time, is ahead of a `Date` header (RFC 9110 §6.6.1), to the second.

    Returns None if the header is missing or cannot be read.
    """
    try:
        theirs = parsedate_to_datetime(date or "")
        return now - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))
    except (ValueError, TypeError, OverflowError):
        return None


def correction(date: str | None, now: datetime) -> timedelta:
    """Returns what to add to the times in an answer with this `Date`, to get times of this host's clock.

    Returns zero if the header is missing, cannot be read, or differs by more than `_MAX_CORRECTION`.
    """
    ahead = ahead_of(date, now)
    if ahead is None or abs(ahead) > _MAX_CORRECTION:
        return timedelta()
    return timedelta(seconds=_CORRECTION_STEP * round(ahead.total_seconds() / _CORRECTION_STEP))


def shifted(time: datetime, by: timedelta) -> datetime:
    """Returns `time + by`, or `time` if the sum is beyond the calendar."""
    try:
        return time + by
    except OverflowError:
        return time


class ClockWatch:
    """Notices that the clock was set, by comparing it with the monotonic clock, which nobody can set."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()

    def jumped(self) -> float:
        """Returns by how many seconds the clock was set since the last call: negative for back, 0.0 for no jump."""
        before, self._offset = self._offset, self._wall() - self._steady()
        seconds = self._offset - before
        return seconds if abs(seconds) >= _MIN_JUMP else 0.0
