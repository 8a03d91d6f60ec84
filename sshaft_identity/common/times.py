"""Reads the clock, writes and reads times and durations, and keeps lifetimes short when the clock is set back."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the present time with a time zone. Tests pass a clock of their own."""
CLOCK_TOLERANCE = timedelta(minutes=1)
"""Clocks of processes on other hosts may be ahead of ours by this much."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MAX_DURATION = timedelta(days=36500)


def utc_now() -> datetime:
    return datetime.now(UTC)


def latest_begin(now: datetime) -> datetime:
    """Returns the latest time at which anything valid can have begun.

    A later begin means that the clock was set back since. Such a record counts as expired: otherwise a code that is
    five minutes old would be valid for another hour.
    """
    return now + CLOCK_TOLERANCE


def rfc3339(time: datetime) -> str:
    """Returns the time in UTC with `Z`, rounded down to the second: an expiry must not be promised too late."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def duration(value: str) -> timedelta | None:
    """Reads `90s`, `30m`, `24h`, `7d` or `0`. Returns None for any other text."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
    if found is None:
        return timedelta() if value == "0" else None
    seconds = int(found[1]) * _UNITS[found[2]]
    return timedelta(seconds=seconds) if seconds <= _MAX_DURATION.total_seconds() else None


def from_numeric_date(seconds: float) -> datetime:
    """Converts a NumericDate of a JWT (RFC 7519 §2). A value before 1970 or after the year 2242 becomes that limit."""
    return datetime.fromtimestamp(max(0, min(seconds, 2**33)), UTC)
