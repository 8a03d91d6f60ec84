"""Tests when the agent reports to the identity service, what it does with the answers, and what counts meanwhile."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from unit.agent.host_login.remembered.test_remembered import LOGIN, Host

from sshaft.errors import ReachError
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.remembered.reports import PERIOD, Ended, Reports

OFFLINE = 900.0


@dataclass
class Service:
    """Takes reports in memory. `ended` is what it answers, and `is_away` whether it does not."""

    ended: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    ahead: timedelta | None = timedelta()
    is_away: bool = False
    reports: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]] = field(default_factory=list)

    def report(self, remembered: list[dict[str, Any]], sessions: list[dict[str, Any]]) -> Ended:
        self.reports.append((remembered, sessions))
        if self.is_away:
            raise ReachError("https://id.example: away")
        return Ended(self.ended, self.sessions, self.ahead)


@dataclass
class OpenSessions:
    ids: list[str] = field(default_factory=list)

    def open_sessions(self) -> list[dict[str, Any]]:
        return [{"id": each} for each in self.ids]

    def end(self, ids: Sequence[str]) -> None:
        self.ids = [each for each in self.ids if each not in ids]


class Setting:
    """A host with an approval of alice that is remembered, and its reports. `up` is the clock that nobody can set."""

    def __init__(self, directory: Path) -> None:
        self.host = Host(directory)
        self.host.approve()
        self.service, self.sessions, self.up = Service(), OpenSessions(["s1", "s2"]), 1000.0
        self.reports = Reports(self.host.remembered, self.sessions, lambda: self.up)
        self.reports.use(self.service.report, OFFLINE)

    @property
    def is_open(self) -> bool:
        return self.host.remembered.find(LOGIN, self.reports.is_confirmed) is not None

    def report(self) -> float:
        return self.reports.work()


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_report_has_the_whole_state(setting: Setting) -> None:
    assert setting.report() == PERIOD
    (report,) = setting.service.reports
    assert ([each["account"] for each in report[0]], report[1]) == (["alice"], [{"id": "s1"}, {"id": "s2"}])


def test_what_the_service_ends_has_ended_at_once(setting: Setting) -> None:
    (row,) = setting.host.remembered.present()
    setting.service.ended, setting.service.sessions = (row["id"], "unknown"), ("s2", "unknown")
    setting.report()
    assert not setting.is_open
    assert setting.sessions.ids == ["s1"]
    setting.up += 2
    setting.report()
    assert setting.service.reports[-1] == ([], [{"id": "s1"}])


def test_news_wait_until_two_seconds_after_the_last_report(setting: Setting) -> None:
    setting.report()
    setting.up += 0.5
    assert setting.report() == pytest.approx(1.5)
    assert len(setting.service.reports) == 1
    setting.up += 1.5
    setting.report()
    assert len(setting.service.reports) == 2


def test_nothing_counts_before_the_first_report_has_succeeded(setting: Setting) -> None:
    setting.service.is_away = True
    setting.report()
    assert not setting.is_open
    setting.up += 60
    setting.service.is_away = False
    setting.report()
    assert setting.is_open


def test_login_waits_for_the_first_report(setting: Setting) -> None:
    reporting = threading.Timer(0.2, setting.report)
    reporting.start()
    assert setting.is_open
    reporting.join()


def test_approvals_stop_counting_while_the_service_is_away_and_count_again_afterwards(setting: Setting) -> None:
    setting.report()
    setting.service.is_away = True
    setting.up += OFFLINE
    setting.report()
    assert setting.is_open
    setting.up += 1
    assert not setting.is_open
    setting.up += 60
    setting.report()
    assert not setting.is_open
    setting.service.is_away = False
    setting.up += 60
    setting.report()
    assert setting.is_open


def test_approval_that_ended_while_the_host_was_offline_never_counts_again(setting: Setting) -> None:
    setting.report()
    setting.service.is_away = True
    setting.up += OFFLINE + 1
    setting.report()
    (row,) = setting.host.remembered.present()
    setting.service.is_away, setting.service.ended = False, (row["id"],)
    setting.up += 60
    setting.report()
    assert not setting.is_open


def test_service_that_is_away_is_asked_less_and_less_often_whatever_happens_here(setting: Setting) -> None:
    setting.service.is_away = True
    with capture_logs() as logs:
        pauses = []
        for _ in range(8):
            pauses.append(setting.report())
            setting.up += pauses[-1] / 2
            assert setting.report() == pytest.approx(pauses[-1] / 2)  # news do not hurry it
            setting.up += pauses[-1] / 2
        setting.service.is_away = False
        assert setting.report() == PERIOD
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert len(setting.service.reports) == 9
    assert [each["event"] for each in logs] == ["host_report.down", "host_report.up"]
    assert setting.reports.outcomes == {"succeeded": 1, "failed": 8}


@pytest.mark.parametrize("ahead", [timedelta(minutes=6), timedelta(minutes=-6), timedelta(days=-400), None])
def test_nothing_counts_while_the_clock_of_this_host_is_wrong(setting: Setting, ahead: timedelta | None) -> None:
    """A clock that is set back, also across a restart of the host, would give approvals more time."""
    setting.report()
    setting.service.ahead, setting.service.sessions = ahead, ("s1",)
    setting.up += 30
    setting.report()
    assert not setting.is_open
    assert setting.sessions.ids == ["s2"]  # what has ended ends with every clock
    setting.service.ahead = timedelta(seconds=20)
    setting.up += 60
    setting.report()
    assert setting.is_open


def test_clock_that_was_set_back_gives_no_more_than_the_offline_time(setting: Setting) -> None:
    setting.report()
    setting.up += OFFLINE - 1
    setting.host.now += 1  # somebody turns the clock back again and again, and blocks the reports
    setting.service.is_away = True
    setting.report()
    assert setting.is_open
    setting.up += 2
    assert not setting.is_open


def test_another_service_has_to_confirm_anew(setting: Setting) -> None:
    setting.report()
    other = Service(is_away=True)
    setting.reports.use(other.report, OFFLINE)
    setting.report()
    assert not setting.is_open
    assert len(other.reports) == 1


def test_answer_of_the_service_before_a_reload_confirms_nothing(setting: Setting) -> None:
    other = Service(is_away=True)

    def report(_remembered: list[dict[str, Any]], _sessions: list[dict[str, Any]]) -> Ended:
        setting.reports.use(other.report, OFFLINE)
        return Ended((), (), timedelta())

    setting.reports.use(report, OFFLINE)
    setting.report()
    setting.report()
    assert not setting.is_open


def test_host_without_an_identity_service_reports_nothing_and_remembers_nothing(setting: Setting) -> None:
    setting.host.use(longest=None)
    setting.reports.use(None, OFFLINE)
    assert setting.report() == PERIOD
    assert not setting.is_open
    setting.host.use()
    setting.reports.use(setting.service.report, OFFLINE)
    setting.report()
    assert not setting.is_open


def test_broken_database_ends_the_reports_and_so_the_approvals(setting: Setting) -> None:
    setting.report()
    path = setting.host.bindings.path
    path.write_bytes(b"no database" * 100)
    setting.up += 30
    with pytest.raises(DatabaseError):
        setting.report()
    with pytest.raises(DatabaseError):
        setting.is_open  # noqa: B018 - it asks
    assert len(setting.service.reports) == 1
