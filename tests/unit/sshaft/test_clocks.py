"""Tests the correction for another host's clock, and the notice that this clock was set."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sshaft.clocks import ClockWatch, correction, shifted

NOW = datetime(2026, 11, 22, 12, 0, 0, 700_000, tzinfo=UTC)


def date(seconds: float) -> str:
    """Returns the `Date` header of a clock that is so far ahead of NOW."""
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("theirs", "seconds"),
    [(0, 0), (-3, 0), (3, 0), (3600, -3600), (-3600, 3600), (-3602, 3600), (-3597, 3600), (14 * 3600, -14 * 3600)],
)
def test_times_are_corrected_by_whole_steps(theirs: float, seconds: int) -> None:
    assert correction(date(theirs), NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "header",
    [None, "", "yesterday", "Fri, 01 May 2020 12:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
     "Mon, 01 Jan 0001 00:00:00 +1400", "Sun, 22 Nov 2026 12:00:00 +9999"],
)  # fmt: skip
def test_impossible_date_corrects_nothing(header: str | None) -> None:
    assert correction(header, NOW) == timedelta()


def test_time_at_the_end_of_the_calendar_stays() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert shifted(last, timedelta(hours=1)) == last
    assert shifted(NOW, timedelta(hours=1)) == NOW + timedelta(hours=1)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 10.0])
def test_clock_that_was_set_is_noticed_once(seconds: float) -> None:
    wall, steady = [1000.0], [5.0]
    watch = ClockWatch(lambda: wall[0], lambda: steady[0])
    wall[0], steady[0] = 1060.0, 65.0
    assert watch.jumped() == 0
    wall[0], steady[0] = 1120.0 + seconds, 125.0
    assert watch.jumped() == seconds
    assert watch.jumped() == 0


def test_clock_that_is_slowly_corrected_has_not_jumped() -> None:
    wall = [1000.0]
    watch = ClockWatch(lambda: wall[0], lambda: 5.0)
    wall[0] += 0.5
    assert watch.jumped() == 0
