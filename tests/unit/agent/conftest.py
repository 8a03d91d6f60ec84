"""Gives the tests of the agent clocks that they move by hand, and catches the log events."""

import asyncio
import inspect
import io
from datetime import UTC, datetime, timedelta

import pytest


class Clock:
    """A monotonic clock and a wall clock that move only by `move`."""

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
        """Returns a time in RFC 3339 that is `seconds` from now."""
        return (self.now() + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _quiet(events: io.StringIO) -> None:
    """Catches the log events of every test."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
