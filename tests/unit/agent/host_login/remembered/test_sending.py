"""Tests what is sent to the identity service, and which answers are used."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from sshaft.errors import IdentityServiceError
from sshaft.http_client import Answer
from sshaft_agent.host_login.remembered.reports import Ended
from sshaft_agent.host_login.remembered.sending import MOST, MOST_BYTES, sender

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
ENDED = {"ended": {"remembered": ["r1"], "sessions": ["s1", "s2"]}}


def sent(
    sessions: list[dict[str, Any]], answer: object = ENDED, status: int = 200, **headers: str
) -> tuple[dict[str, Any], Ended]:
    """Returns what is sent, and how the answer is understood."""
    bodies = []

    def post(body: dict[str, Any]) -> Answer:
        bodies.append(body)
        return Answer(status, headers, json.dumps(answer).encode())

    ended = sender(post, "web1", NOW.timestamp)([{"id": "r1"}], sessions)
    return bodies[0], ended


def test_report_names_the_host_and_its_answer_says_what_has_ended() -> None:
    body, ended = sent([{"id": "s1"}], Date=format_datetime(NOW - timedelta(seconds=7)))
    assert body == {"host": "web1", "remembered": [{"id": "r1"}], "sessions": [{"id": "s1"}]}
    assert ended == Ended(("r1",), ("s1", "s2"), timedelta(seconds=7))


@pytest.mark.parametrize("date", [{}, {"Date": "yesterday"}])
def test_answer_without_a_time_says_nothing_of_the_clocks(date: dict[str, str]) -> None:
    assert sent([], **date)[1].ahead is None


@pytest.mark.parametrize(
    ("answer", "status"),
    [(ENDED, 403), (ENDED, 404), (ENDED, 429), ({}, 200), ([], 200), ({"ended": {"remembered": "r1"}}, 200)],
)
def test_answer_that_cannot_be_used_is_a_failure(answer: object, status: int) -> None:
    with pytest.raises(IdentityServiceError):
        sent([], answer, status)


@pytest.mark.parametrize("session", [{"id": "s"}, {"id": "s" * 4000}])
def test_report_never_exceeds_what_the_service_takes(session: dict[str, str]) -> None:
    sessions = [session] * (MOST + 1)
    with capture_logs() as logs:
        body, _ended = sent(sessions)
    assert len(body["sessions"]) + len(body["remembered"]) <= MOST
    assert len(json.dumps(body)) <= MOST_BYTES
    assert [each["event"] for each in logs] == ["host_report.cut"]
