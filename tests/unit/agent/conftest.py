"""Events of the agent's parts go nowhere while they are tested in this process, and its clocks are moved by hand."""

import io
from datetime import UTC, datetime, timedelta

import pytest


class Clock:
    """A monotonic clock and a wall clock that move together, and only when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self._start = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.seconds - 1000.0)

    def move(self, seconds: float) -> None:
        self.seconds += seconds

    def later(self, seconds: float) -> str:
        """RFC 3339, so many seconds from now."""
        return (self.now() + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _quiet(events: io.StringIO) -> None:
    """Events go nowhere but there."""
