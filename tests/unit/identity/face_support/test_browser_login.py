"""Tests each decision about a login in a browser: whose it is, how it ends, and which login makes room."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from fakes.public_keys import ed25519
from service.browser import Browser, heading
from service.relying_party import RelyingParty, back, give_rsa_key
from service.service import START, Service
from sqlalchemy import delete, update
from starlette.requests import Request

from sshaft_identity.challenges.challenge import Challenge, Context, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.database.tables import face_requests
from sshaft_identity.face_support import browser_login
from sshaft_identity.web.call import Call
from sshaft_identity.web.html import PageError
from sshaft_identity.web.throttle import Throttle

FINISHED = "This login is finished. To log in again, start a new login."
NOT_OPEN = (
    "This browser has no open login here. Start the login again, and use the same browser until its end. The browser "
    "must accept our cookie, which needs https."
)
PENDING = Challenge("0" * 32, None, "shop", Context(), START, START + timedelta(minutes=5))


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    give_rsa_key(service)
    return service.add_user("alice", ed25519("alice"))[0]


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


@pytest.fixture
def shop(service: Service) -> RelyingParty:
    return RelyingParty(service)


def call_of(service: Service) -> Call:
    return Call(Request({"type": "http", "app": service.app, "headers": [], "client": None}))


@pytest.mark.parametrize(
    ("state", "seconds", "reason"),
    [
        (State.REJECTED, 0, "the person denied the login, or entered too many wrong codes"),
        (State.EXPIRED, 0, "no SSH login passed in time"),
        (State.PENDING, 300, "no SSH login passed in time"),
        (State.ACCEPTED, 360, "no SSH login passed in time"),
        (State.CANCELLED, 0, "the login was cancelled, or a newer login replaced it"),
        (State.PENDING, 299, "the login did not pass"),
    ],
)
def test_provider_is_told_why_the_login_did_not_pass(state: State, seconds: int, reason: str) -> None:
    moment = START + timedelta(seconds=seconds)
    assert browser_login.failure_reason(replace(PENDING, state=state), moment) == reason


def test_login_in_the_browser_needs_a_client(service: Service) -> None:
    with pytest.raises(ValueError, match=r"^a login in the browser needs a client$"):
        browser_login.begin_login(call_of(service), "openid", Wish(None, timedelta(minutes=5)), {})
    assert service.store.challenges.recent() == []


def test_cookie_lives_as_long_as_the_result(browser: Browser, shop: RelyingParty) -> None:
    page, _ = shop.begin(browser)
    shop.ask(browser)
    assert "Max-Age=360" in browser.set_cookies[0]
    assert f"__Host-sshaft-login-{page.removeprefix('/login/')[:16]}" in browser.cookies


def test_pages_of_no_login_say_what_to_do(browser: Browser, shop: RelyingParty) -> None:
    page, _ = shop.begin(Browser(browser.service))
    for path in (page, f"{page}/finish"):
        answer = browser.get(path)
        assert (answer.status_code, heading(answer)) == (404, "No such login")
        assert NOT_OPEN in answer.text


@pytest.mark.parametrize(("seconds", "status"), [(359, 200), (360, 404)])
def test_page_is_shown_until_the_result_has_expired(
    service: Service, browser: Browser, shop: RelyingParty, seconds: int, status: int
) -> None:
    page, _ = shop.begin(browser)
    service.clock.advance(seconds)
    assert browser.get(page).status_code == status


def test_pending_login_is_led_to_its_page(browser: Browser, shop: RelyingParty) -> None:
    page, _ = shop.begin(browser)
    assert browser.get(f"{page}/finish").headers["Location"] == page


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: delete(face_requests),
        lambda: update(face_requests).values(face="gone"),
    ],
)
def test_login_of_a_face_that_is_gone_ends_with_a_page(
    service: Service, browser: Browser, shop: RelyingParty, alice: str, spoil: Callable[[], object]
) -> None:
    page, code = shop.begin(browser)
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    with service.store.database.write() as connection:
        connection.execute(spoil())  # type: ignore[call-overload]
    assert heading(browser.get(f"{page}/finish")) == "No such login"
    assert service.audited("challenge.consumed") == []


def test_request_of_another_face_is_a_finished_login(service: Service, browser: Browser, shop: RelyingParty) -> None:
    page, _ = shop.begin(browser)
    challenge = service.store.challenges.get(page.removeprefix("/login/"))
    assert challenge
    call = call_of(service)
    assert browser_login.request_of(call, "openid", challenge).client_id == "shop"
    assert call.caller == "shop"
    with pytest.raises(PageError) as refused:
        browser_login.request_of(call, "cas", challenge)
    assert (refused.value.status, refused.value.title, refused.value.sentence) == (
        410, "Login already finished", FINISHED,
    )  # fmt: skip


def test_result_is_taken_again_for_a_minute_by_the_same_login_only(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    """Case browser_reload: the neighbour's login has its own minute."""
    pages = []
    for _ in range(2):
        page, code = shop.begin(browser)
        service.accept("alice", code=code, fingerprint=alice, confirmed=True)
        pages.append(page)
    first, second = (service.store.challenges.get(page.removeprefix("/login/")) for page in pages)
    assert first
    assert second
    taken = browser_login.take_result(call_of(service), first, service.clock())
    assert taken
    assert (taken.id, taken.state) == (first.id, State.CONSUMED)
    service.clock.advance(59)
    again = browser_login.take_result(call_of(service), first, service.clock())  # as a click that read it before
    assert again
    assert again.state is State.CONSUMED
    assert browser_login.take_result(call_of(service), second, service.clock())
    service.clock.advance(1)
    with pytest.raises(PageError):
        browser_login.take_result(call_of(service), taken, service.clock())
    assert len(service.audited("challenge.consumed")) == 2


def test_login_that_has_passed_makes_room_and_marks_the_browser(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    """Finding S16: a login that has ended no longer counts for its address; a denied one still does."""
    service.replace(login_throttle=Throttle(1))
    page, code = shop.begin(browser)
    assert shop.ask(Browser(service)).status_code == 429
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    back(browser.get(f"{page}/finish"))
    assert "__Host-sshaft-known" in browser.cookies
    denied = Browser(service)
    page, _ = shop.begin(denied, login_hint="alice")
    service.store.challenges.cancel(page.removeprefix("/login/"), service.clock())
    assert back(denied.get(f"{page}/finish"))["error"] == "access_denied"
    assert "__Host-sshaft-known" not in denied.cookies
    assert shop.ask(Browser(service)).status_code == 429


def test_only_open_logins_of_this_browser_make_room(service: Service, browser: Browser, shop: RelyingParty) -> None:
    """Finding S16: neither a login of a neighbour nor an ended login is replaced, and eight cookies are looked up."""
    service.replace(login_throttle=Throttle(2))
    neighbour = Browser(service)
    others, _ = shop.begin(neighbour)
    own, _ = shop.begin(browser)
    strange = {f"__Host-sshaft-login-{number:032x}": "x" * 43 for number in range(8)}
    assert shop.ask(Browser(service, strange | browser.cookies)).status_code == 429
    one_less = dict(list(strange.items())[:7])
    stolen = {name: token for token in neighbour.cookies.values() for name in browser.cookies}
    assert shop.ask(Browser(service, stolen)).status_code == 429, "the token is of another login"
    assert shop.ask(Browser(service, one_less | {"other": "x" * 43} | browser.cookies)).status_code == 303
    assert heading(browser.get(own)) == "Cancelled"
    assert heading(neighbour.get(others)) == "Confirm with SSH"
    assert shop.ask(browser).status_code == 429, "its login has ended"
    words = re.search(r"Too many logins that began [^<]*", shop.ask(browser).text)
    assert words
    assert words[0].startswith("Too many logins that began at your network address are not finished.")
