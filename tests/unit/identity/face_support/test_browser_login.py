"""Tests each decision about a login in a browser: whose it is, how it ends, and which login makes room."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import requests
from service.browser import Browser, heading
from service.relying_party import RelyingParty, back
from service.service import START, Service
from sqlalchemy import Executable, delete, update
from starlette.requests import Request

from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenge import Challenge, Context, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.database.tables import challenges, face_requests
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


def call_of(service: Service) -> Call:
    scope = {"type": "http", "method": "GET", "app": service.app, "headers": [], "query_string": b"", "client": None}
    return Call(Request(scope))


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
    """The login of another browser is none, and neither is one with the cookie of another login."""
    page, _ = shop.begin(Browser(browser.service))
    shop.begin(browser)
    (token,) = browser.cookies.values()
    other_name = f"__Host-sshaft-login-{page.removeprefix('/login/')[:16]}"
    for each in (browser, Browser(browser.service, {other_name: token})):
        for path in (page, f"{page}/finish"):
            answer = each.get(path)
            assert (answer.status_code, heading(answer)) == (404, "No such login")
            assert f">{NOT_OPEN}<" in answer.text


def test_page_leads_on_after_each_end_of_the_login(browser: Browser, shop: RelyingParty) -> None:
    page, _ = shop.begin(browser)
    shown = browser.get(page).text
    words = re.search(r"const returnWords = (.*?);", shown)
    assert words
    ends = ("rejected", "expired", "cancelled", "tried_out", "unknown")
    assert json.loads(words[1]) == {"accepted": "Continue"} | dict.fromkeys(ends, "Go back")
    for place in (f'data-base="{page}"', f'data-passed="{page}/finish"', f'href="{page}/finish"'):
        assert place in shown


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


@pytest.mark.parametrize(
    "spoil", [update(challenges).values(state=State.CANCELLED), delete(challenges)], ids=["cancelled", "deleted"]
)
def test_login_that_ended_after_it_was_read_has_no_result(
    service: Service, browser: Browser, shop: RelyingParty, alice: str, spoil: Executable
) -> None:
    page, code = shop.begin(browser)
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    challenge = service.store.challenges.get(page.removeprefix("/login/"))
    assert challenge
    with service.store.database.write() as connection:
        connection.execute(spoil)
    with pytest.raises(PageError) as refused:
        browser_login.take_result(call_of(service), challenge, service.clock())
    assert refused.value.status == 410


def test_other_tab_hears_of_the_login_that_this_tab_ends(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    """The SSH login came to another process, whose news have not come here yet."""
    page, code = shop.begin(browser)
    assert service.app
    waiting = service.app.state.sshaft.waiting
    with ThreadPoolExecutor(1) as pool:
        other_tab = pool.submit(
            Browser(replace(service, session=requests.Session()), browser.cookies).get, f"{page}/state?wait=30"
        )
        while not waiting._counts:  # noqa: SLF001 - there is no public list of places
            assert not other_tab.done()
        service.store.challenges.accept(Attempt("alice", None, code, alice, confirmed=True), service.clock())
        browser.get(f"{page}/finish")
        assert other_tab.result().json()["state"] == "accepted"


def test_page_that_posts_the_answer_may_send_it_anywhere(service: Service) -> None:
    """Cases browser_form_post and browser_popup: the application may redirect on, and keeps its pop-up."""
    page = browser_login.form_post(call_of(service), "https://app.example.org/cb?a=1&b", {"code": "x", "state": '"'})
    text = bytes(page.body).decode()
    assert page.status_code == 200
    assert '<form class="actions" id="answer" method="post" action="https://app.example.org/cb?a=1&amp;b">' in text
    assert re.findall(r'name="(.*?)" value="(.*?)"', text) == [("code", "x"), ("state", "&#34;")]
    assert "form-action" not in page.headers["Content-Security-Policy"]
    assert page.headers["Cross-Origin-Opener-Policy"] == "unsafe-none"


def test_request_without_a_trusted_way_back_is_recorded_and_told_to_the_person(service: Service) -> None:
    error = browser_login.untrusted_request(call_of(service), "openid", "the client is not registered")
    sentence = (
        "The application that sent you here is not set up correctly: the client is not registered. Tell its "
        "administrator."
    )
    assert (error.status, error.title, error.sentence) == (400, "This login cannot begin", sentence)
    (event,) = service.audited("request.refused")
    told = (event["face"], event["error"], event["reason"])
    assert told == ("openid", "invalid_request", "the client is not registered")


def test_login_that_has_passed_makes_room_and_marks_the_browser(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    """Finding S16: a login that has ended no longer counts for its address; a denied one still does."""
    service.replace(login_throttle=Throttle(1))
    page, code = shop.begin(browser)
    assert shop.ask(Browser(service)).status_code == 429
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    back(browser.get(f"{page}/finish"))
    assert browser.get(page).headers["Location"] == f"{page}/finish", "another tab goes on, too"
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
    one_less = dict(list(strange.items())[:6])
    more = {"other": "x" * 43, "sshaft-login-of-another-host": "x" * 43}
    stolen = {name: token for token in neighbour.cookies.values() for name in browser.cookies}
    assert shop.ask(Browser(service, stolen)).status_code == 429, "the token is of another login"
    assert shop.ask(Browser(service, one_less | more | browser.cookies)).status_code == 303
    assert heading(browser.get(own)) == "Cancelled"
    assert heading(neighbour.get(others)) == "Confirm with SSH"
    assert shop.ask(browser).status_code == 429, "its login has ended"
    words = re.search(r"Too many logins that began [^<]*", shop.ask(browser).text)
    assert words
    assert words[0].startswith("Too many logins that began at your network address are not finished.")
