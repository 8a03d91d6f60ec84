"""Tests the report of a host over HTTP: which bodies are taken, and who may send them."""

from typing import Any

import pytest
import requests
from service.service import Service

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.web.throttle import Throttle

PATH = "/api/v1/approvals/report"
SESSION = {"id": "s1", "account": "alice", "service": "sshd", "source": "192.0.2.7", "began": "2026-11-22T12:00:00Z"}
OURS = {"iss": "https://id.example.org", "sub": "alice"}
REMEMBERED = {
    "id": "r1", "approval": "0" * 32, "account": "alice", "service": "sshd", "network": "192.0.2.0/24",
    "until": "2026-11-23T00:00:00Z", "used_at": 1795348800,
}  # fmt: skip


def report(service: Service, sessions: Any = (), remembered: Any = (), **more: Any) -> requests.Response:
    body = {"host": "db1.example.org", "sessions": list(sessions), "remembered": list(remembered)} | more
    return service.call("POST", PATH, Scope.APPROVALS, json=body)


def test_answer_names_what_must_end(service: Service) -> None:
    answer = report(service, [SESSION | OURS, SESSION | {"id": "s2"}], [REMEMBERED])
    assert answer.status_code == 200
    assert answer.json() == {"ended": {"remembered": ["r1"], "sessions": ["s1"]}}
    assert service.events("host_report.answered")[0]["ended_session"] == 1


def test_client_with_pairwise_names_reports_by_its_own_names(service: Service) -> None:
    service.add_user("alice")
    client = Client("db1", frozenset([Scope.APPROVALS]), pairwise_sector="db1.example.org")
    service.store.clients.add(client, service.clock())
    body = {"host": "h", "remembered": [], "sessions": [SESSION | OURS]}
    body["sessions"][0]["sub"] = service.store.subjects.of(client, "alice")
    headers = service.bearer(Scope.APPROVALS, "db1")
    assert service.call("POST", PATH, json=body, headers=headers).json()["ended"]["sessions"] == []
    assert service.audited("host_session.began")[0]["user"] == "alice"


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../x"},
        {"id": ""},
        {"id": "x" * 65},
        {"account": "x" * 256},
        {"began": "yesterday"},
        {"began": "2026-11-22T12:00:00"},
        {"began": "0001-01-01T00:00:00+14:00"},
        {"began": "9999-12-31T23:59:59-14:00"},
        {"began": 1e300},
        {"sub": "x" * 256},
    ],
)
def test_entry_that_is_none_is_refused(service: Service, change: dict[str, Any]) -> None:
    assert report(service, [SESSION | change]).json()["error"] == "invalid_request"


def test_report_is_bounded(service: Service) -> None:
    tiny = {"id": "s", "account": "a", "service": "s", "began": 1795348800}
    assert report(service, [tiny | {"id": str(n)} for n in range(10_000)]).status_code == 200
    assert report(service, [tiny | {"id": str(n)} for n in range(10_000)], [REMEMBERED]).status_code == 400
    assert report(service, [tiny | {"account": "a" * 200, "id": str(n)} for n in range(9000)]).status_code == 413
    assert report(service, host="").status_code == 400


def test_client_without_the_scope_reports_nothing(service: Service) -> None:
    assert service.call("POST", PATH, Scope.CHALLENGES, json={}).json()["error"] == "insufficient_scope"
    assert service.call("POST", PATH, json={}).json()["error"] == "invalid_token"


def test_host_that_reports_too_often_waits_and_others_do_not(service: Service) -> None:
    service.replace(report_throttle=Throttle(2))
    assert [report(service).status_code for _ in range(3)] == [200, 200, 429]
    assert int(report(service).headers["Retry-After"]) > 0
    assert report(service, host="db2").status_code == 200


def test_foreign_text_of_a_host_becomes_one_line(service: Service) -> None:
    service.add_user("alice")
    report(service, [SESSION | OURS | {"account": "a\u202e\nb\x1b[2J"}])
    assert service.audited("host_session.began")[0]["account"] == "a  b [2J"
