"""Tests the calls of the application that starts a login, and the rules for every request."""

import json
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.public_keys import ed25519, sk_ed25519
from service.service import Service
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.store import Store

CONTRACT = json.loads((Path(__file__).parents[3] / "contract" / "challenges.json").read_text())
EXAMPLE_ID = "73868460068a91d07da6d8585439c132"
VARY = ("id", "code", "ssh_command", "page_url", "fingerprint")


@pytest.mark.parametrize("example", CONTRACT["examples"], ids=lambda example: str(example["name"]))
def test_every_example_of_the_contract_gets_its_answer(service: Service, example: dict[str, Any]) -> None:
    now = datetime.fromisoformat(example["now"])
    challenge = prepare(service, example["given"], now)
    service.clock.now = now
    asked, expected = example["request"], example["response"]
    path = asked["path"].replace(EXAMPLE_ID, challenge)
    body = {"json": asked["body"]} if "body" in asked else {}
    answer = service.call(asked["method"], path, Scope.CHALLENGES, **body)
    got = answer.json()
    assert answer.status_code == expected["status"], answer.text
    assert list(got) == list(expected["body"])
    assert steady(got) == steady(expected["body"])
    assert [len(got[name]) for name in VARY if name in got] == [
        len(expected["body"][name]) for name in VARY if name in got
    ]
    if "Location" in expected.get("headers", {}):
        assert answer.headers["Location"] == f"/api/v1/challenges/{got['id']}"
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"


def steady(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in VARY}


def prepare(service: Service, given: str | None, now: datetime) -> str:
    """Makes a challenge in the first state of an example, and returns its id."""
    if given is None:
        return ""
    soft, hard = service.add_user("alice", ed25519("alice"), sk_ed25519("alice"))
    if given == "of another client":
        service.store.clients.add(Client("another", frozenset([Scope.CHALLENGES])), service.clock())
        headers = {"Authorization": f"Bearer {service.token(Scope.CHALLENGES, 'another')}"}
        made = service.call("POST", "/api/v1/challenges", json={"user": "alice"}, headers=headers)
        return str(made.json()["id"])
    opened = service.open(app="Wiki")
    if given == "rejected":
        service.reject()
    if given.startswith("accepted") or given == "consumed":
        service.clock.now = now
        fingerprint = hard if "security key" in given else soft
        service.accept(code=opened["code"], fingerprint=fingerprint, client_ip="192.0.2.99")
    if given == "consumed":
        service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES)
    return opened["id"]


def test_service_never_builds_addresses_from_the_host_header(service: Service) -> None:
    headers = {"Host": "evil.example"}
    made = service.call("POST", "/api/v1/challenges", Scope.CHALLENGES, json={"user": "alice"}, headers=headers)
    assert "evil.example" not in made.text + str(made.headers)
    assert made.json()["page_url"].startswith("https://id.example.org/challenge/")
    slash = service.call("GET", "/healthz/", headers=headers, allow_redirects=False)
    assert slash.status_code == 404


@pytest.mark.parametrize("seconds", [60, 60.0])
def test_number_of_seconds_may_be_written_as_a_float(service: Service, seconds: float) -> None:
    opened = service.open(expires_in=seconds)
    assert (opened["created_at"], opened["expires_at"]) == ("2026-11-22T12:00:00Z", "2026-11-22T12:01:00Z")


@pytest.mark.parametrize("seconds", ["60", 60.5, True, 29.0, 601.0, 1e300])
def test_lifetime_that_is_no_whole_number_in_range_is_refused(service: Service, seconds: object) -> None:
    body = {"user": "alice", "expires_in": seconds}
    assert service.call("POST", "/api/v1/challenges", Scope.CHALLENGES, json=body).status_code == 400


def test_unknown_and_known_users_get_the_same_answer(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    one, other = service.open("alice"), service.open("nobody")
    assert steady(one) | {"user": ""} == steady(other) | {"user": ""}
    shown = service.show(one["id"]), service.show(other["id"])
    assert steady(shown[0]) | {"user": ""} == steady(shown[1]) | {"user": ""}


def test_unknown_and_known_users_cause_the_same_database_statements(service: Service) -> None:
    """Otherwise the time of the answer would reveal which users exist."""
    service.add_user("alice", ed25519("alice"))
    service.show(service.open("somebody")["id"])  # now the client has a token and every connection is open
    engine = service.store.database.engine
    asked: dict[str, list[str]] = {"alice": [], "nobody": []}
    for user, statements in asked.items():

        def note(*about: object, statements: list[str] = statements) -> None:
            statements.append(str(about[2]))

        event.listen(engine, "before_cursor_execute", note)
        for _ in range(2):  # the second challenge replaces the first
            opened = service.open(user, binding="code_back")
        service.show(opened["id"])
        page = opened["page_url"].removeprefix("https://id.example.org")
        for path in (page, f"{page}/state"):
            assert service.call("GET", path).status_code == 200
        verify = f"/api/v1/challenges/{opened['id']}/verify"
        assert service.call("POST", verify, Scope.CHALLENGES, json={"code": "000000"}).status_code == 409
        assert service.call("POST", f"/api/v1/challenges/{opened['id']}/cancel", Scope.CHALLENGES, json={}).ok
        event.remove(engine, "before_cursor_execute", note)
    assert len(asked["alice"]) > 20
    assert asked["alice"] == asked["nobody"]


@pytest.mark.parametrize(
    ("app", "shown"),
    [
        ("  Wiki\n", "Wiki"),
        ("a\x1b[2Jb", "a [2Jb"),
        ("a\u202eb\x00", "a b"),
        ("Bücher", "Bücher"),
        ("x" * 900, "x" * 512),
    ],
)
def test_foreign_text_becomes_one_harmless_line(service: Service, app: str, shown: str) -> None:
    assert service.open(app=app)["app"] == shown


@pytest.mark.parametrize(
    "body",
    [
        {"user": "alice", "binding": "smoke_signal"},
        {"user": "alice", "verify_required": "yes"},
        {"user": "a b"},
        {"user": "alice", "expires_in": 29},
        {"user": "alice", "expires_in": "60"},
        {"user": "alice", "expires_in": True},
        {"user": "alice", "app": 1},
        {"user": "alice", "context": "x"},
    ],
)
def test_malformed_challenge_is_an_invalid_request(service: Service, body: dict[str, Any]) -> None:
    answer = service.call("POST", "/api/v1/challenges", Scope.CHALLENGES, json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("wait", ["-1", "31", "1.5", "x", "", "٣", "100"])
def test_malformed_wait_is_refused(service: Service, wait: str) -> None:
    opened = service.open()
    answer = service.call("GET", f"/api/v1/challenges/{opened['id']}", Scope.CHALLENGES, params=f"wait={wait}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


# --- waiting


class Waiting:
    """Sends a GET with `?wait=` in a thread of its own."""

    def __init__(self, service: Service, challenge: str, wait: int = 20) -> None:
        self.answer: dict[str, Any] = {}
        token = {"Authorization": f"Bearer {service.token(Scope.CHALLENGES)}"}

        def wait_for_it() -> None:
            path = f"/api/v1/challenges/{challenge}?wait={wait}"
            self.answer = service.call("GET", path, headers=token).json()
            self.ended = time.monotonic()

        self._thread = threading.Thread(target=wait_for_it)
        self._thread.start()
        time.sleep(0.3)  # by then the request waits

    def result(self, since: float) -> tuple[str, float]:
        """Returns the state in the answer, and the seconds from `since` to the answer."""
        self._thread.join(30)
        return self.answer["state"], self.ended - since


def test_accept_ends_the_wait_at_once(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    waiting = [Waiting(service, opened["id"]) for _ in range(3)]
    start = time.monotonic()
    service.accept(code=opened["code"])
    for each in waiting:
        state, seconds = each.result(start)
        assert state == "accepted"
        assert seconds < 3


def test_wrong_code_does_not_end_the_wait(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    waiting = Waiting(service, opened["id"], wait=2)
    start = time.monotonic()
    service.accept(challenge=opened["id"], code="0")
    state, seconds = waiting.result(start)
    assert state == "pending"
    assert seconds > 1


@pytest.mark.usefixtures("hearing")
def test_change_by_another_process_ends_the_wait_within_a_second(service: Service) -> None:
    opened = service.open()
    waiting = Waiting(service, opened["id"])
    url = service.store.database.engine.url.render_as_string(hide_password=False)
    start = time.monotonic()
    with Store(url, service.store.codes) as another:
        assert another.challenges.cancel(opened["id"], service.clock())
    state, seconds = waiting.result(start)
    assert state == "cancelled"
    assert seconds < 4


def test_expiry_ends_the_wait(service: Service) -> None:
    opened = service.open()
    service.clock.advance(299.5)
    waiting = Waiting(service, opened["id"])
    start = time.monotonic()
    service.clock.advance(0.5)
    state, seconds = waiting.result(start)
    assert state == "expired"
    assert seconds < 4


def test_wait_without_news_ends_after_its_time(service: Service) -> None:
    opened = service.open()
    start = time.monotonic()
    assert service.show(opened["id"], wait=1)["state"] == "pending"
    assert 0.9 < time.monotonic() - start < 8


def test_service_answers_while_many_long_polls_wait(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    waiting = [Waiting(service, opened["id"]) for _ in range(3)]
    waiting += [Waiting(service, opened["id"]) for _ in range(3)]
    start = time.monotonic()
    assert service.call("GET", "/healthz").status_code == 200
    assert time.monotonic() - start < 3
    service.reject()
    assert {each.result(start)[0] for each in waiting} == {"rejected"}


# --- every request


def test_only_one_of_many_consume_requests_succeeds(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    service.accept(code=opened["code"])
    statuses: list[int] = []

    def consume() -> None:
        path = f"/api/v1/challenges/{opened['id']}/consume"
        statuses.append(service.call("POST", path, Scope.CHALLENGES).status_code)

    threads = [threading.Thread(target=consume) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("0123456789abcdef", True), ("a.b_c-D1", True), ("short", False), ("x" * 65, False), ('quote"and space', False)],
)
def test_valid_request_id_is_kept_and_a_malformed_one_replaced(service: Service, sent: str, kept: bool) -> None:
    answer = service.call("GET", "/api/v1/mfa/ssh/keys", Scope.LIST, headers={"X-Request-ID": sent})
    request_id = answer.headers["X-Request-ID"]
    assert (request_id == sent) is kept
    assert len(request_id) >= 8
    assert service.events("keys.listed")[-1]["request_id"] == request_id


def test_unknown_path_and_unknown_method_are_problems(service: Service) -> None:
    answer = service.call("GET", "/nothing/here")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    answer = service.call("PUT", "/api/v1/challenges")
    assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


def test_answer_reveals_nothing_about_an_internal_failure(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("with a secret 4711")

    monkeypatch.setattr(service.store.challenges, "listed", break_down)
    answer = service.call("GET", "/api/v1/mfa/ssh/keys", Scope.LIST)
    assert (answer.status_code, answer.json()["error"]) == (500, "internal")
    assert "4711" not in answer.text + service.log.getvalue()
    assert service.events("request.failed")[-1]["error"] == "RuntimeError"


def test_unavailable_database_is_a_503(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def be_away(_: str) -> None:
        raise OperationalError("SELECT 1", {}, Exception("database is locked"))

    monkeypatch.setattr(service.store.challenges, "of_page", be_away)
    answer = service.call("GET", "/challenge/x/state")
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert service.events("database.unavailable")[-1]["reason"] == "database is locked"


def test_every_answer_has_the_security_headers(service: Service) -> None:
    for path in ("/healthz", "/nothing", "/challenge/nothing", "/api/v1/mfa/ssh/keys"):
        headers = service.call("GET", path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        # with `no-referrer`, the forms of a page would be sent without their origin
        assert headers["Referrer-Policy"] == ("same-origin" if path.startswith("/challenge") else "no-referrer")
        assert "Server" not in headers
