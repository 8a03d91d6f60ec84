"""Tells the identity service which approvals are remembered and who is logged in, and ends what it says has ended.

A remembered approval counts only while these reports succeed. So a person who is out of reach of the identity service
cannot keep one: a revocation counts after a while even where it does not arrive.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from sshaft import log
from sshaft.errors import RemoteServiceError
from sshaft_agent.host_login.first_login.first_login import uptime
from sshaft_agent.host_login.remembered.remembered import Remembered

PERIOD = 30.0
SOONEST = 2.0
"""The time between two reports, if there is news."""
_LONGEST_PAUSE = 60.0
_FIRST_SECONDS = 3.0
"""A login that comes before the first report waits so long for it."""
_LARGEST_CLOCK_DIFFERENCE = timedelta(minutes=5)
OUTCOMES = ("succeeded", "failed")


@dataclass(frozen=True)
class Ended:
    """What the identity service answers: the ids of what has ended, and how far this host's clock is ahead.

    `ahead` is None if the answer does not say it.
    """

    remembered: tuple[str, ...]
    sessions: tuple[str, ...]
    ahead: timedelta | None


class Sessions(Protocol):
    """The sessions of this host that a host login has opened."""

    def open_sessions(self) -> list[dict[str, Any]]:
        """Returns what the identity service hears of each one."""

    def end(self, ids: Sequence[str]) -> None:
        """Ends the sessions with these ids."""


Report = Callable[[list[dict[str, Any]], list[dict[str, Any]]], Ended]
"""Sends the remembered approvals and the sessions. Raises `RemoteServiceError`."""


class Reports:
    """Makes the reports. `work` runs in one thread at a time, and `is_confirmed` in any.

    Until `use`, there is no identity service. `clock` is in seconds. It runs on while the machine sleeps, and nobody
    can set it.
    """

    def __init__(self, remembered: Remembered, sessions: Sessions, clock: Callable[[], float] = uptime) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.remembered_count = 0
        self._remembered = remembered
        self._sessions = sessions
        self._clock = clock
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._offline_seconds = 0.0
        self._first_is_over = threading.Event()
        self._first_is_over.set()
        self._confirmed_at: float | None = None
        self._next_at = 0.0
        self._failures = 0

    def use(self, report: Report | None, offline_seconds: float) -> None:
        """Uses settings that were read. None: there is no identity service. Nothing is confirmed any more."""
        with self._lock:
            self._report, self._offline_seconds = report, offline_seconds
            self._confirmed_at, self._next_at, self._failures = None, 0.0, 0
            self._first_is_over.clear()
            if report is None:
                self._first_is_over.set()

    def is_confirmed(self) -> bool:
        """Whether a report has succeeded within `offline_seconds`. It may wait for the first one."""
        self._first_is_over.wait(_FIRST_SECONDS)
        return self.is_confirmed_now()

    def is_confirmed_now(self) -> bool:
        """Returns what `is_confirmed` does, at once."""
        at = self._confirmed_at
        return at is not None and self._clock() - at <= self._offline_seconds

    def work(self) -> float:
        """Makes the report, unless it is too early for it. Returns the seconds until the next one. It blocks."""
        now, report = self._clock(), self._report
        if report is None:
            # It forgets everything: nothing is remembered without the service.
            self.remembered_count = len(self._remembered.present())
            return PERIOD
        if now < self._next_at:
            return self._next_at - now
        self._next_at = now + SOONEST
        remembered = self._remembered.present()
        self.remembered_count = len(remembered)
        try:
            ended = report(remembered, self._sessions.open_sessions())
        except RemoteServiceError as error:
            return self._failed(report, str(error))
        self._remembered.end(ended.remembered, "the identity service has ended it")
        pause = self._succeeded(report, now, ended.ahead)
        if ended.sessions:
            self._sessions.end(ended.sessions)  # it may take long
        return pause

    def _succeeded(self, report: Report, began: float, ahead: timedelta | None) -> float:
        """Notes a report that has arrived. Approvals count only while the clocks agree on when one is over."""
        if ahead is None or abs(ahead) > _LARGEST_CLOCK_DIFFERENCE:
            shown = "an unknown time" if ahead is None else f"{round(ahead.total_seconds())} s"
            pause = self._failed(report, f"the clock of this host is ahead of the identity service by {shown}")
            self._confirmed_at = None
            return pause
        with self._lock:
            self.outcomes["succeeded"] += 1
            if report is self._report:
                if self._failures:
                    log.get_logger().info("host_report.up")
                self._failures, self._confirmed_at = 0, began
                self._first_is_over.set()
        return PERIOD

    def _failed(self, report: Report, message: str) -> float:
        with self._lock:
            self.outcomes["failed"] += 1
            if report is not self._report:
                return 0.0
            if not self._failures:
                log.get_logger().error("host_report.down", message=message)
            self._failures += 1
            pause = min(SOONEST * 2.0 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
            self._next_at = self._clock() + pause
            self._first_is_over.set()
        return pause
