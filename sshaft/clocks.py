"""Clocks that are wrong: another host's against this one's, and this one's when it is put forward or back."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MIN_JUMP = 10.0
"""Seconds. What NTP corrects by the way is less."""
CORRECTION_STEP = 10.0
"""Seconds. Differences are told in whole steps: less says little (`Date` has no fractions, and the answer took its
time), and what is the same must look the same with every answer."""
MAX_CORRECTION = timedelta(days=1)


def ahead_of(date: str | None, now: datetime) -> timedelta | None:
    """How far `now`, this host's time, is ahead of a `Date` header (RFC 9110 §6.6.1), to the second; None: the header
    is missing or can't be read.
    """
    try:
        theirs = parsedate_to_datetime(date or "")
        return now - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))
    except (ValueError, TypeError, OverflowError):
        return None


def correction(date: str | None, now: datetime) -> timedelta:
    """What to add to the times in an answer with this `Date`, so that they are by this host's clock. Nothing where the
    header says nothing, or what no clock of a working host would: who wrote it may be no clock at all.
    """
    ahead = ahead_of(date, now)
    if ahead is None or abs(ahead) > MAX_CORRECTION:
        return timedelta()
    return timedelta(seconds=CORRECTION_STEP * round(ahead.total_seconds() / CORRECTION_STEP))


def shifted(time: datetime, by: timedelta) -> datetime:
    """`time + by`; a time at the end of the calendar stays."""
    try:
        return time + by
    except OverflowError:
        return time


class ClockWatch:
    """Notices that the clock was set: then it has gone another way than the monotonic one, which nobody sets."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()

    def jumped(self) -> float:
        """By how many seconds since the last call, negative for back; 0.0 for what is no jump."""
        before, self._offset = self._offset, self._wall() - self._steady()
        seconds = self._offset - before
        return seconds if abs(seconds) >= MIN_JUMP else 0.0
