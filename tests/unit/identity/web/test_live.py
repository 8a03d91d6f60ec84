"""Tests the event stream of a challenge: its events, its end, and its cost while it waits."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from service.browser import FROM_HERE, Browser, heading
from service.service import Service, wrong
from sqlalchemy import event, text

from sshaft_identity.clients.clients import Scope
from sshaft_identity.web import live


@contextmanager
def events(service: Service, page_url: str) -> Iterator[Iterator[str]]:
    """Yields each line of the stream that is not empty."""
    url = service.url + page_url.removeprefix("https://id.example.org") + "/events"
    with requests.get(url, stream=True, timeout=40) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert "no-transform" in answer.headers["Cache-Control"]
        assert "Content-Length" not in answer.headers
        yield (line for line in answer.iter_lines(chunk_size=1, decode_unicode=True) if line)


def news(line: str) -> dict[str, Any]:
    assert line.startswith("data: "), line
    told: dict[str, Any] = json.loads(line.removeprefix("data: "))
    return told


@pytest.fixture
def opened(service: Service) -> dict[str, str]:
    service.add_user("alice", ed25519("alice"))
    return service.open()


def test_event_stream_sends_the_state_each_change_and_the_end(service: Service, opened: dict[str, str]) -> None:
    with events(service, opened["page_url"]) as lines:
        assert next(lines) == "retry: 2000"
        assert news(next(lines)) == {"state": "pending", "attempts_left": 5, "expires_in": 300}
        service.accept(code=wrong(opened["code"]))
        assert news(next(lines))["attempts_left"] == 4
        service.accept(code=opened["code"])
        assert news(next(lines))["state"] == "accepted"
        assert list(lines) == [], "the stream ends with the challenge"


def test_stream_of_a_finished_challenge_has_one_event(service: Service, opened: dict[str, str]) -> None:
    service.call("POST", f"/api/v1/challenges/{opened['id']}/cancel", Scope.CHALLENGES)
    with events(service, opened["page_url"]) as lines:
        assert [news(line)["state"] for line in list(lines)[1:]] == ["cancelled"]


def test_comments_keep_an_idle_stream_open(
    service: Service, opened: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.2)
    with events(service, opened["page_url"]) as lines:
        assert [next(lines) for _ in range(5)][2:] == [":", ":", ":"]
        service.accept(code=opened["code"])
        assert [news(line)["state"] for line in lines if line != ":"] == ["accepted"]


@pytest.mark.usefixtures("hearing")
def test_idle_stream_does_not_read_the_database(
    service: Service, opened: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.05)
    engine, asked = service.store.database.engine, list[str]()

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM challenges" in statement:
            asked.append(statement)

    with events(service, opened["page_url"]) as lines:
        assert next(line for line in lines if line == ":")
        event.listen(engine, "before_cursor_execute", note)
        assert [next(lines) for _ in range(10)] == [":"] * 10
        event.remove(engine, "before_cursor_execute", note)
        service.accept(code=opened["code"])
    assert asked == []


def test_stream_ends_when_the_service_ends(service: Service, opened: dict[str, str]) -> None:
    assert service.app
    with events(service, opened["page_url"]) as lines:
        next(lines)
        next(lines)
        service.app.state.sshaft.changes.close()
        service.accept(code=wrong(opened["code"]))  # any change wakes the stream
        assert len(list(lines)) <= 1


def test_stream_ends_when_the_browser_has_gone(
    service: Service, opened: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.2)
    assert service.app
    changes = service.app.state.sshaft.changes
    with events(service, opened["page_url"]) as lines:
        next(lines)
        next(lines)
    for _ in range(200):
        if not changes._waiters:  # noqa: SLF001 - there is no public list of waiters
            return
        asyncio.run(asyncio.sleep(0.05))
    pytest.fail("it waits for nobody")


def test_unknown_page_has_no_events(service: Service) -> None:
    assert service.call("GET", "/challenge/nosuchpage/events").status_code == 404
    assert service.call("GET", "/sign-in/ssh/events").status_code == 404
    assert service.call("GET", "/sign-in/ssh/state").status_code == 404


def test_cookie_of_a_sign_in_gives_access_to_its_news(service: Service) -> None:
    (key,) = service.add_user("alice", ed25519("alice"))
    browser = Browser(service)
    code = browser.begin()
    assert browser.get("/sign-in/ssh/state").json()["state"] == "pending"
    service.accept(code=code, fingerprint=key)
    assert browser.get("/sign-in/ssh/state?wait=30").json()["state"] == "accepted"
    assert '"state": "accepted"' in browser.get("/sign-in/ssh/events").text


def test_page_that_finds_no_place_to_wait_gets_its_news_without_waiting(
    service: Service, opened: dict[str, str]
) -> None:
    """Finding S8: thousands of event streams of one challenge held up everybody's logins."""
    assert service.app
    waiting = service.app.state.sshaft.waiting
    page = opened["page_url"].removeprefix("https://id.example.org")
    with ExitStack() as stack:
        for _ in range(waiting.most_of_challenge):
            next(stack.enter_context(events(service, opened["page_url"])))
        for path in ("/events", "/state?wait=25"):
            refused = service.call("GET", page + path)
            assert refused.status_code == 429
            assert refused.json()["error"] == "too_many_pages"
            assert refused.headers["Retry-After"] == "2"
        assert service.call("GET", f"{page}/state").json()["state"] == "pending"
        other = service.open("bob")
        assert next(stack.enter_context(events(service, other["page_url"]))) == "retry: 2000"
        for challenge in (opened, other):
            service.call("POST", f"/api/v1/challenges/{challenge['id']}/cancel", Scope.CHALLENGES)
    for _ in range(200):
        if not waiting._counts:  # noqa: SLF001 - there is no public list of places
            return
        asyncio.run(asyncio.sleep(0.05))
    pytest.fail("an ended stream keeps its place")


@pytest.mark.parametrize("has_source", [False, True])
def test_stream_tells_that_the_database_is_away_and_misses_no_change(
    service: Service, opened: dict[str, str], monkeypatch: pytest.MonkeyPatch, has_source: bool
) -> None:
    """Finding U14: the page said "Waiting" while the database was away."""
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.05)
    assert service.app
    changes = service.app.state.sshaft.changes
    changes._has_source = has_source  # noqa: SLF001 - only a background task sets it

    def rename(before: str, after: str) -> None:
        with service.store.database.write() as connection:
            connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    with events(service, opened["page_url"]) as lines:
        assert next(line for line in lines if line == ":")
        rename("challenges", "away")
        service.app.state.sshaft.changes.wake(opened["id"])
        assert next(line for line in lines if line != ":") == "event: unavailable"
        rename("away", "challenges")
        assert next(line for line in lines if '"pending"' in line)
        service.call("POST", f"/api/v1/challenges/{opened['id']}/cancel", Scope.CHALLENGES)
        assert next(line for line in lines if '"cancelled"' in line)


def test_browser_gets_a_page_that_loads_itself_again_while_the_database_is_away(
    service: Service, opened: dict[str, str]
) -> None:
    """Finding U14: a browser showed JSON."""
    page = opened["page_url"].removeprefix("https://id.example.org")
    with service.store.database.write() as connection:
        connection.execute(text("DROP TABLE challenges"))
    answer = service.call("GET", page, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, heading(answer)) == (503, "Not available now")
    assert (answer.headers["Refresh"], answer.headers["Retry-After"]) == ("5", "5")
    german = service.call("GET", page, headers={"Accept": "text/html", "Accept-Language": "de"})
    assert heading(german) == "Jetzt nicht verfügbar"
    assert service.call("GET", page).json()["error"] == "unavailable"
    answer = Browser(service).post(page, {"code": "123456"}, headers=FROM_HERE | {"Accept": "text/html"})
    assert (answer.status_code, heading(answer)) == (503, "Not available now")
    assert "Refresh" not in answer.headers
    assert "try again in a minute" in answer.text
