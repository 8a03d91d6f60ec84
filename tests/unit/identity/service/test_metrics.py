"""Tests the metrics of the identity service. They never hold a user, a path or a token."""

import threading
import time
from pathlib import Path

import pytest
import requests
from fakes.public_keys import ed25519
from prometheus_client.parser import text_string_to_metric_families as parse
from service.hosts import Host
from service.service import SETTINGS, Service, Socket

from sshaft_identity.audit import chain
from sshaft_identity.audit.log import record_event
from sshaft_identity.clients.clients import Scope
from sshaft_identity.service.app import create_app
from sshaft_identity.service.metrics import Metrics

TOKEN = "scrape-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def metrics(service: Service, listening: tuple[Socket, str]) -> Metrics:
    """Lets the service answer /metrics on its main port."""
    metrics = Metrics(service.store, service.clock)
    listening[0].app = create_app(service.store, SETTINGS, service.clock, metrics, TOKEN)
    return metrics


def scrape(service: Service) -> dict[tuple[str, str], float]:
    """Returns the values by name and labels. The labels are those of the text."""
    answer = service.call("GET", "/metrics", headers=BEARER)
    assert answer.status_code == 200
    return values(answer.text)


def values(text: str) -> dict[tuple[str, str], float]:
    found = {}
    for family in parse(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name, labels] = sample.value
    return found


def test_requests_count_under_the_template_of_their_route(service: Service, metrics: Metrics) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    service.call("GET", opened["page_url"].removeprefix("https://id.example.org") + "/state")
    service.show(opened["id"])
    service.call("GET", f"/api/v1/challenges/{opened['id']}/elsewhere")
    service.call("PROPFIND", "/challenge/x")
    text = service.call("GET", "/metrics", headers=BEARER).text
    page_token = opened["page_url"].rpartition("/")[2]
    for secret in (opened["id"], opened["code"], page_token, "alice", "elsewhere", "PROPFIND"):
        assert secret not in text
    name = "sshaft_identity_http_requests_total"
    counted = {labels: value for (each, labels), value in values(text).items() if each == name}
    assert counted == {
        "method=POST,route=/api/v1/challenges,status=2xx": 1,
        "method=GET,route=/challenge/{page_token}/state,status=2xx": 1,
        "method=GET,route=/api/v1/challenges/{id},status=2xx": 1,
        "method=GET,route=none,status=4xx": 1,
        "method=other,route=/challenge/{page_token},status=4xx": 1,
    }
    assert values(text)["sshaft_identity_http_request_seconds_count", "route=/api/v1/challenges"] == 1
    del metrics


def test_internal_failure_counts_as_5xx(service: Service, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_(*_: object) -> None:
        raise RuntimeError

    del metrics
    monkeypatch.setattr(service.store.challenges, "listed", break_)
    service.call("GET", "/api/v1/mfa/ssh/keys", Scope.LIST)
    name = "sshaft_identity_http_requests_total"
    assert scrape(service)[name, "method=GET,route=/api/v1/mfa/ssh/keys,status=5xx"] == 1


def test_audit_events_are_counted_once_they_are_sealed(service: Service, metrics: Metrics) -> None:
    with service.store.database.write() as connection:
        for event in ("challenge.accepted", "challenge.accepted", "challenge.rejected"):
            record_event(connection, event, service.clock(), user="alice")
    before = scrape(service)["sshaft_identity_unsealed_audit_events", ""]
    assert before >= 3
    chain.seal_all(service.store.database, metrics.count_events)
    after = scrape(service)
    assert after["sshaft_identity_events_total", "event=challenge.accepted"] == 2
    assert after["sshaft_identity_events_total", "event=challenge.rejected"] == 1
    assert (after["sshaft_identity_unsealed_audit_events", ""], after["sshaft_identity_audit_sequence", ""]) == (
        0,
        before,
    )


def test_only_running_challenges_count_as_pending(service: Service, metrics: Metrics) -> None:
    del metrics
    for user in ("alice", "bob"):
        service.open(user)
    assert scrape(service)["sshaft_identity_pending_challenges", ""] == 2
    service.clock.advance(301)
    assert scrape(service)["sshaft_identity_pending_challenges", ""] == 0


def test_approvals_that_wait_are_counted(service: Service, metrics: Metrics) -> None:
    del metrics
    host = Host(service)
    host.open()
    host.end(host.open()["id"], "gone")
    assert scrape(service)["sshaft_identity_open_approvals", ""] == 1
    service.clock.advance(301)
    assert scrape(service)["sshaft_identity_open_approvals", ""] == 0


def test_waiting_request_counts_as_in_progress(service: Service, metrics: Metrics) -> None:
    del metrics
    opened = service.open()
    waiting = ("sshaft_identity_http_requests_in_progress", "route=/api/v1/challenges/{id}")
    url, token = f"{service.url}/api/v1/challenges/{opened['id']}?wait=30", service.token(Scope.CHALLENGES)
    headers = {"Authorization": f"Bearer {token}"}
    threads = [threading.Thread(target=requests.get, args=(url,), kwargs={"headers": headers}) for _ in range(3)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while scrape(service).get(waiting) != 3:
        assert time.monotonic() < end
        time.sleep(0.05)
    service.call("POST", f"/api/v1/challenges/{opened['id']}/cancel", Scope.CHALLENGES)
    for thread in threads:
        thread.join()
    assert scrape(service)[waiting] == 0


def test_unavailable_database_is_a_metric_and_no_error(service: Service, metrics: Metrics) -> None:
    del metrics
    assert scrape(service)["sshaft_identity_database_up", ""] == 1
    path = service.store.database.engine.url.database
    assert path
    service.store.close()
    Path(path).write_bytes(b"x" * 4096)
    for suffix in ("-wal", "-shm"):
        Path(path + suffix).unlink(missing_ok=True)
    away = scrape(service)
    assert away["sshaft_identity_database_up", ""] == 0
    assert ("sshaft_identity_pending_challenges", "") not in away


@pytest.mark.parametrize("given", [None, "", "Bearer", f"Bearer {TOKEN}x", "Bearer scrape-", f"Basic {TOKEN}", TOKEN])
def test_metrics_on_the_main_port_need_their_token(service: Service, metrics: Metrics, given: str | None) -> None:
    del metrics
    answer = service.call("GET", "/metrics", headers={} if given is None else {"Authorization": given})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert "sshaft_identity" not in answer.text


def test_access_token_of_the_api_does_not_open_the_metrics(service: Service, metrics: Metrics) -> None:
    del metrics
    assert service.call("GET", "/metrics", Scope.LIST).status_code == 401


def test_service_has_no_metrics_by_default(service: Service) -> None:
    assert service.call("GET", "/metrics", headers=BEARER).status_code == 404
