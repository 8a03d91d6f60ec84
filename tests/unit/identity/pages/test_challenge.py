"""Tests the HTML of the challenge page. `tests/web` tests it in a browser."""

import json
import re
from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from service.browser import Browser, heading
from service.service import Service, wrong
from sqlalchemy import event, select

from sshaft_identity.clients.clients import Scope
from sshaft_identity.database.tables import audit_events


def page_path(opened: dict[str, str]) -> str:
    return opened["page_url"].removeprefix("https://id.example.org")


def page_of(service: Service, opened: dict[str, str]) -> requests.Response:
    return service.call("GET", page_path(opened))


def state_of(service: Service, opened: dict[str, str], **params: Any) -> dict[str, Any]:
    answer = service.call("GET", page_path(opened) + "/state", params=params)
    assert answer.status_code == 200
    state: dict[str, Any] = answer.json()
    return state


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


@pytest.fixture
def back(service: Service) -> dict[str, str]:
    """Opens a challenge and lets ssh print its code."""
    service.add_user("alice", ed25519("alice"))
    opened = service.open(binding="code_back")
    assert service.accept().json()["state"] == "presented"
    return opened


def printed(service: Service) -> str:
    return service.store.codes.given_back(service.store.challenges.recent()[0].id)


def test_page_computes_the_code_from_its_address(service: Service) -> None:
    opened = service.open(app="Wiki")
    page = page_of(service, opened)
    assert page.status_code == 200
    assert f">ssh mfa@login.example.org {opened['code']}<" in page.text
    assert "5:00 left" in page.text
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page.text


def test_foreign_text_is_escaped(service: Service) -> None:
    text = page_of(service, service.open(app="</title><script>alert(1)</script>{{7*7}}")).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "{{7*7}}" in text


def test_policy_allows_only_elements_with_the_nonce_of_the_answer(service: Service) -> None:
    opened = service.open()
    nonces = set()
    for _ in range(2):
        page = page_of(service, opened)
        policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
        nonce = policy["script-src"].removeprefix("'nonce-").removesuffix("'")
        assert policy == {
            "default-src": "'none'",
            "script-src": f"'nonce-{nonce}'",
            "style-src": f"'nonce-{nonce}'",
            "connect-src": "'self'",
            "img-src": "data:",
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
            "form-action": "'self'",
        }
        assert page.text.count(f'nonce="{nonce}"') == 2
        assert "style=" not in page.text
        nonces.add(nonce)
    assert len(nonces) == 2


def test_each_final_state_has_its_text_and_shows_no_command(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    for user in "bcde":
        service.add_user(user, ed25519(user))
    opened = [service.open(user, expires_in=30) for user in ("alice", *"bcde")]
    service.accept(challenge=opened[0]["id"], code=opened[0]["code"])
    service.reject(user="b", challenge=opened[1]["id"])
    service.call("POST", f"/api/v1/challenges/{opened[2]['id']}/cancel", Scope.CHALLENGES)
    for by in range(1, 6):
        service.accept("d", challenge=opened[3]["id"], code=wrong(opened[3]["code"], by))
    service.clock.advance(30)
    pages = [page_of(service, each) for each in opened]
    assert [heading(page) for page in pages] == ["Passed", "Denied", "Cancelled", "Denied", "Too late"]
    for page, each in zip(pages, opened, strict=True):
        assert each["code"] not in page.text
        assert "http-equiv" not in page.text
        assert "<script" not in page.text
    assert "Too many wrong codes" in pages[3].text


def test_consumed_challenge_shows_as_passed(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    service.accept(code=opened["code"])
    service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES)
    assert heading(page_of(service, opened)) == "Passed"
    assert state_of(service, opened)["state"] == "accepted"


def test_page_without_scripts_shows_wrong_attempts(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    assert " hidden>Wrong code, 5 tries left" in page_of(service, opened).text
    for by in range(1, 5):
        service.accept(challenge=opened["id"], code=wrong(opened["code"], by))
    assert '"status">Wrong code, 1 try left' in page_of(service, opened).text


def test_state_endpoint_reveals_no_more_than_the_page(service: Service) -> None:
    opened = service.open()
    service.clock.advance(0.5)
    assert state_of(service, opened) == {"state": "pending", "attempts_left": 5, "expires_in": 300}


def test_state_endpoint_answers_at_once_if_the_page_missed_a_wrong_code(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    service.accept(challenge=opened["id"], code=wrong(opened["code"]))
    assert state_of(service, opened, wait=30, attempts_left=5)["attempts_left"] == 4


def test_state_of_an_expired_challenge_is_answered_at_once(service: Service) -> None:
    opened = service.open()
    service.clock.advance(300)
    assert state_of(service, opened, wait=30) == {"state": "expired", "attempts_left": 5, "expires_in": 0}


@pytest.mark.parametrize("token", ["x", "0" * 22, "%00", "a%2fb", "é", "'", "A" * 5000])
def test_unknown_address_is_a_404_page(service: Service, token: str) -> None:
    page = service.call("GET", f"/challenge/{token}")
    assert page.status_code == 404
    state = service.call("GET", f"/challenge/{token}/state")
    assert (state.status_code, state.json()["error"]) == (404, "not_found")


def test_page_accepts_the_printed_code(service: Service, back: dict[str, str], browser: Browser) -> None:
    page = browser.get(back["page_url"])
    assert ">ssh mfa@login.example.org</code>" in page.text
    assert 'inputmode="numeric" autocomplete="one-time-code"' in page.text
    answer = browser.post(back["page_url"], {"code": f" {printed(service)[:3]} {printed(service)[3:]} "})
    assert answer.headers["Location"] == page_path(back)
    assert heading(browser.get(back["page_url"])) == "Passed"
    assert service.show(back["id"])["state"] == "accepted"


def test_page_shows_the_attempts_left_after_a_wrong_code(
    service: Service, back: dict[str, str], browser: Browser
) -> None:
    code = wrong(printed(service))
    for left in ("4 tries left", "3 tries left", "2 tries left", "1 try left"):
        browser.post(back["page_url"], {"code": code})
        assert f"Wrong code, {left}" in browser.get(back["page_url"]).text
    browser.post(back["page_url"], {"code": code})
    assert "Too many wrong codes" in browser.get(back["page_url"]).text
    browser.post(back["page_url"], {"code": printed(service)})
    assert service.show(back["id"])["state"] == "rejected"


def test_form_that_is_sent_twice_counts_once(service: Service, back: dict[str, str], browser: Browser) -> None:
    for _ in range(3):
        browser.post(back["page_url"], {"code": wrong(printed(service)), "attempt": "A" * 22})
    assert "Wrong code, 4 tries left" in browser.get(back["page_url"]).text


def test_page_says_that_ssh_has_not_printed_a_code_yet(service: Service, browser: Browser) -> None:
    opened = service.open(binding="code_back")
    page = browser.post(opened["page_url"], {"code": service.store.codes.given_back(opened["id"])})
    assert page.status_code == 409
    assert "ssh has not printed a code for this login yet. Run the command first." in page.text
    assert service.show(opened["id"])["state"] == "pending"


@pytest.mark.parametrize("code", ["", "abc", "12345678901234567", "١٢٣٤٥٦", "0x10", "-1"])
def test_malformed_code_does_not_count(service: Service, back: dict[str, str], browser: Browser, code: str) -> None:
    page = browser.post(back["page_url"], {"code": code})
    assert page.status_code == 400
    assert "six digits" in page.text
    assert service.store.challenges.recent()[0].tries == 0


def test_code_for_an_unknown_login_or_another_binding_passes_nothing(service: Service, browser: Browser) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    browser.post(opened["page_url"], {"code": opened["code"]})
    assert service.show(opened["id"])["state"] == "pending"
    assert browser.post("/challenge/nosuchpage", {"code": "123456"}).status_code == 404


def test_page_does_not_reload_while_a_code_is_typed(back: dict[str, str], browser: Browser) -> None:
    assert '<noscript><meta http-equiv="refresh" content="301"></noscript>' in browser.get(back["page_url"]).text


def test_page_shows_the_user_and_the_source_of_the_login(service: Service, browser: Browser) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    opened = service.open(app="Wiki", context={"ip": "192.0.2.7", "user_agent": agent})
    service.clock.advance(120)
    page = browser.get(opened["page_url"]).text
    assert "<code>ssh mfa@login.example.org deny</code>" in page
    shown = re.sub("<[^>]*>", "", page)
    for text in ("Login to Wiki as alice", "192.0.2.7, Firefox on Linux", "2 minutes ago"):
        assert text in shown
    nobody = browser.get(service.open(None, app="Wiki")["page_url"]).text
    assert "whoever&#39;s key brings the code" in nobody or "whoever's key brings the code" in nobody
    assert "deny" not in nobody, "deny cannot find a challenge that names no user"


def test_page_shows_the_required_kind_of_key(service: Service, browser: Browser) -> None:
    assert "asks for its PIN or your finger" in browser.get(service.open(verify_required=True)["page_url"]).text


def test_first_view_of_the_page_is_audited_once(service: Service, browser: Browser) -> None:
    opened = service.open()
    for _ in range(3):
        browser.get(opened["page_url"])
    with service.store.database.read() as connection:
        shown = connection.execute(select(audit_events).where(audit_events.c.event == "challenge.shown")).all()
    assert [json.loads(row.facts)["page_address"] for row in shown] == ["127.0.0.1"]


def test_only_the_first_view_of_the_page_writes_to_the_database(service: Service, browser: Browser) -> None:
    opened = service.open()
    written: list[str] = []
    engine = service.store.database.engine

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if re.match("INSERT|UPDATE|BEGIN IMMEDIATE", statement):
            written.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    looks = []
    for _ in range(2):
        written.clear()
        assert browser.get(opened["page_url"]).status_code == 200
        looks.append([*written])
    event.remove(engine, "before_cursor_execute", note)
    assert any("challenges" in statement for statement in looks[0])
    assert looks[1] == []


def test_id_of_a_challenge_opens_no_page(service: Service) -> None:
    assert service.call("GET", f"/challenge/{service.open()['id']}").status_code == 404


def test_log_never_holds_the_address_of_the_page(service: Service) -> None:
    opened = service.open()
    page_of(service, opened)
    state_of(service, opened)
    assert opened["page_url"].rpartition("/")[2] not in service.log.getvalue()


def test_page_of_a_locked_user_says_until_when_no_code_is_checked(service: Service, browser: Browser) -> None:
    """Finding U2: a locked person was told to start the login again, which cannot help for an hour."""
    service.add_user("alice", ed25519("alice"))
    opened = [service.open(), service.open()]
    for number in range(10):
        if number == 5:
            opened.append(service.open())
        service.accept(code=wrong(opened[-1]["code"], number + 1))
    assert heading(browser.get(opened[-1]["page_url"])) == "Denied"
    again = browser.get(service.open()["page_url"])
    assert "ssh refuses all codes for this user before 22 Nov 2026, 13:00 UTC." in again.text
    service.store.challenges.unlock("alice", service.clock())
    assert "ssh refuses" not in browser.get(service.open()["page_url"]).text
