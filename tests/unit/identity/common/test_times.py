"""Tests the times that clients and providers send."""

from datetime import UTC, datetime

import pytest

from sshaft_identity.common.times import from_numeric_date


@pytest.mark.parametrize("seconds", [float("nan"), float("-inf"), -1e300, -1, 0])
def test_time_before_1970_and_no_number_are_the_beginning_of_1970(seconds: float) -> None:
    """ "Unproven" behind finding S22: NaN in a token is a time long ago, so the token has expired."""
    assert from_numeric_date(seconds) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, 2**33])
def test_time_beyond_the_calendar_is_in_the_year_2242(seconds: float) -> None:
    """ "Unproven" behind finding S22: such a time raises no error."""
    assert from_numeric_date(seconds).year == 2242
