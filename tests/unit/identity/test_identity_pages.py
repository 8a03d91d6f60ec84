"""The page as HTML; `tests/web` looks at it with a browser."""

import re
from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from unit.identity.running import Service, wrong

from sshaft_identity.clients import Scope


def page_path(opened: dict[str, str]) -> str:
    return opened["page_url"].removeprefix("https://id.example.org")


def page_of(service: Service, opened: dict[str, str]) -> requests.Response:
    return service.call("GET", page_path(opened))


def state_of(service: Service, opened: dict[str, str], **params: Any) -> dict[str, Any]:
    answer = service.call("GET", page_path(opened) + "/state", params=params)
    assert answer.status_code == 200
    state: dict[str, Any] = answer.json()
    return state


def heading(page: requests.Response) -> str:
    found = re.search(r'<h1[^>]*>(.*?)</h1>', page.text)
    assert found
    return found[1]


def test_the_page_works_the_code_out_from_its_own_address(service: Service) -> None:
    opened = service.open(app="Wiki")
    page = page_of(service, opened)
    assert page.status_code == 200
    assert f">ssh mfa@login.example.org {opened['code']}<" in page.text
    assert "5:00 left" in page.text
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page.text


def test_foreign_words_stay_words(service: Service) -> None:
    text = page_of(service, service.open(app="</title><script>alert(1)</script>{{7*7}}")).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "{{7*7}}" in text


def test_the_policy_allows_only_what_carries_this_answers_nonce(service: Service) -> None:
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


def test_each_end_has_its_words_and_shows_no_command(service: Service) -> None:
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


def test_a_consumed_challenge_has_passed(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    service.accept(code=opened["code"])
    service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES)
    assert heading(page_of(service, opened)) == "Passed"
    assert state_of(service, opened)["state"] == "accepted"


def test_wrong_tries_are_told_also_without_scripts(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    assert " hidden>Wrong code, 5 tries left" in page_of(service, opened).text
    for by in range(1, 5):
        service.accept(challenge=opened["id"], code=wrong(opened["code"], by))
    assert '"status">Wrong code, 1 try left' in page_of(service, opened).text


def test_the_state_says_nothing_that_the_page_does_not(service: Service) -> None:
    opened = service.open()
    service.clock.advance(0.5)
    assert state_of(service, opened) == {"state": "pending", "attempts_left": 5, "expires_in": 300}


def test_the_state_answers_at_once_if_the_page_has_missed_a_wrong_code(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    service.accept(challenge=opened["id"], code=wrong(opened["code"]))
    assert state_of(service, opened, wait=30, attempts_left=5)["attempts_left"] == 4


def test_the_state_of_an_expired_challenge_is_answered_without_a_wait(service: Service) -> None:
    opened = service.open()
    service.clock.advance(300)
    assert state_of(service, opened, wait=30) == {"state": "expired", "attempts_left": 5, "expires_in": 0}


@pytest.mark.parametrize("token", ["x", "0" * 22, "%00", "a%2fb", "é", "'", "A" * 5000])
def test_an_unknown_address_is_a_plain_404(service: Service, token: str) -> None:
    page = service.call("GET", f"/challenge/{token}")
    assert page.status_code == 404
    state = service.call("GET", f"/challenge/{token}/state")
    assert (state.status_code, state.json()["error"]) == (404, "not_found")


def test_the_id_of_a_challenge_opens_no_page(service: Service) -> None:
    assert service.call("GET", f"/challenge/{service.open()['id']}").status_code == 404


def test_the_pages_address_never_reaches_the_log(service: Service) -> None:
    opened = service.open()
    page_of(service, opened)
    state_of(service, opened)
    assert opened["page_url"].rpartition("/")[2] not in service.log.getvalue()
