"""Events of the agent's parts go nowhere while they are tested in this process, and its clocks are moved by hand."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from sshaft import log


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
def events() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    log.set_up("debug", stream)
    yield stream
    structlog.reset_defaults()
