"""The life of terminals and sessions: limits, time, renewed tokens, and every way in which a sign-in ends."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from fakes.forged_tokens import FORGERIES
from fakes.openid_provider import CLIENT_ID
from joserfc import jwt
from service.web_service import WebService, web_service

from sshaft_demo.web_client import WebBrowser
from sshaft_oidc.logout_token import EVENT

pytestmark = pytest.mark.slow

LIMITS = {"terminals_per_person": 3, "terminals": 5, "idle_seconds": 600, "keep_seconds": 60, "sign_in_seconds": 3600}


@pytest.fixture
def service() -> Iterator[WebService]:
    with web_service(limits=LIMITS) as service:
        yield service


def test_person_has_a_limit_of_terminals(service: WebService) -> None:
    browser = service.browser()
    opened = [browser.open() for _ in range(3)]
    refused = browser.post("/api/terminals", {"target": "host"})
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_terminals")
    assert "Close one of them" in refused.json()["message"]
    browser.post(f"/api/terminals/{opened[0]}/close")
    service.wait(lambda: len(service.state.terminals) == 2)
    browser.open()


def test_all_people_together_have_a_limit(service: WebService) -> None:
    first, second = service.browser(), service.browser()
    for browser in (first, first, first, second, second):
        browser.open()
    assert second.post("/api/terminals", {"target": "host"}).status_code == 429
    assert service.browser().post("/api/terminals", {"target": "host"}).status_code == 429


def test_second_sign_in_gives_no_more_terminals(service: WebService) -> None:
    for _ in range(3):
        service.browser("many").open()
    assert service.browser("many").post("/api/terminals", {"target": "host"}).status_code == 429


def test_person_cannot_open_terminals_without_a_pause(service: WebService) -> None:
    """sshd punishes an address with many bad logins, and all people come from the same one."""
    browser = service.browser()
    for _ in range(30):
        terminal = browser.open()
        browser.post(f"/api/terminals/{terminal}/close")
        service.wait(lambda: not browser.terminals())
    assert browser.post("/api/terminals", {"target": "host"}).status_code == 429
    service.browser().open()
    service.pass_time(61)
    browser.open()


def test_terminal_without_a_page_ends_after_a_time(service: WebService) -> None:
    page = service.terminal()
    page.close()
    service.wait(lambda: not next(iter(service.state.terminals)).is_connected)
    service.pass_time(59)
    assert len(service.state.terminals) == 1
    service.pass_time(1)
    service.wait(lambda: len(service.state.terminals) == 0 and service.host.connections == 0)


def test_terminal_with_a_page_stays(service: WebService) -> None:
    page = service.terminal()
    for _ in range(20):
        service.pass_time(59)
        page.type("a")
        page.wait_for("a")
    assert page.state == "open"


def test_idle_terminal_ends(service: WebService) -> None:
    page = service.terminal()
    service.pass_time(599)
    page.send(type="ping")
    page.send(type="seen", offset=0)
    service.pass_time(1)
    assert page.wait_for_end() == 4002
    assert page.news[-1]["message"] == "The terminal was idle for too long."


def test_session_ends_after_its_time(service: WebService) -> None:
    browser = service.browser()
    page = service.terminal(browser)
    for _ in range(8):
        service.pass_time(400)
        page.type("a")
        page.wait_for("a")
    service.pass_time(400)
    assert page.wait_for_end() == 4001
    assert browser.http.get(f"{service.url}/api/terminals", timeout=10).status_code == 401


def test_tokens_are_renewed_while_a_terminal_is_open(service: WebService) -> None:
    service.provider.bend_refresh["expires_in"] = 300
    page = service.terminal()
    before = set(service.provider.refresh_tokens)
    service.pass_time(55)
    after = set(service.provider.refresh_tokens)
    assert after
    assert not before & after
    service.pass_time(200)
    assert set(service.provider.refresh_tokens) == after, "it is not due yet"
    assert page.state == "open"


def test_renewal_goes_on_if_its_terminal_is_closed(service: WebService) -> None:
    """The provider has used up the old refresh token already, and would end the sign-in that shows it again."""
    may_answer = threading.Event()
    browser = service.browser()
    service.clock.seconds += 100
    service.provider.on_call["/token"] = lambda: may_answer.wait(20)
    before = len(service.provider.forms)
    terminal = browser.open()
    service.wait(lambda: "/token" in service.provider.calls[-1:] or len(service.provider.forms) > before)
    browser.post(f"/api/terminals/{terminal}/close")
    service.wait(lambda: not browser.terminals())
    may_answer.set()
    service.terminal(browser)
    assert [each["grant_type"] for each in service.provider.forms[before:]] == ["refresh_token"]
    service.pass_time(100)
    assert len(service.state.terminals) == 1


def test_tokens_of_a_session_without_terminals_are_left_alone(service: WebService) -> None:
    browser = service.browser()
    before = set(service.provider.refresh_tokens)
    service.pass_time(1000)
    assert set(service.provider.refresh_tokens) == before
    browser.open()
    service.wait(lambda: set(service.provider.refresh_tokens) != before)


def test_sign_in_that_the_provider_has_ended_ends_the_terminals(service: WebService) -> None:
    browser = service.browser()
    page, other = service.terminal(browser), service.terminal()
    session = next(each.session for each in service.state.terminals)
    service.provider.refresh_tokens.pop(str(session.tokens.current.refresh_token))
    service.pass_time(55)
    assert page.wait_for_end() == 4001
    assert browser.http.get(f"{service.url}/api/terminals", timeout=10).status_code == 401
    other.type("still here")
    other.wait_for("still here")


def test_sign_in_that_has_ended_is_found_when_a_terminal_opens(service: WebService) -> None:
    browser = service.browser()
    service.provider.refresh_tokens.clear()
    service.pass_time(100)
    terminal = browser.post("/api/terminals", {"target": "host"})
    assert terminal.status_code in (201, 401)
    service.wait(lambda: browser.http.get(f"{service.url}/api/terminals", timeout=10).status_code == 401)
    assert service.host.users == []


@pytest.mark.parametrize("fault", ["temporarily_unavailable", "invalid_client"])
def test_outage_of_the_provider_ends_no_terminal(service: WebService, fault: str) -> None:
    page = service.terminal()
    service.provider.errors = [fault]
    service.pass_time(55)
    page.type("still here")
    page.wait_for("still here")
    service.pass_time(1)
    assert not next(iter(service.state.terminals)).session.tokens.are_due, "the next round has renewed them"


def test_person_without_a_refresh_token_signs_in_again(service: WebService) -> None:
    service.provider.gives_refresh_tokens = False
    browser = service.browser()
    service.terminal(browser)
    service.pass_time(100)
    page = browser.attach(browser.open())
    assert page.wait_for_end() == 4002
    assert page.news[-1]["message"] == "Your sign-in has ended. Sign in again."
    assert len(service.state.terminals) == 1, "the open one stays"


@pytest.fixture
def without_renewal(service: WebService) -> WebService:
    """The provider gives no refresh tokens, and answers introspection."""
    service.provider.gives_refresh_tokens = False
    service.provider.bend_introspection = {}
    service.provider.bend_tokens["expires_in"] = 3600
    service.api.users["another"] = "alice"
    return service


@pytest.mark.parametrize("way", ["introspection", "userinfo", "userinfo, because it may not introspect"])
def test_access_token_that_the_provider_revokes_ends_the_terminals(without_renewal: WebService, way: str) -> None:
    service, provider = without_renewal, without_renewal.provider
    if way != "introspection":
        provider.bend_userinfo = {"sub": "somebody"}
        provider.bend_introspection = {"active": False} if "because" in way else None
    page = service.terminal()
    provider.bend_tokens["access_token"] = "another"
    provider.good_tokens.add("another")
    other = service.terminal()
    service.pass_time(1)
    service.pass_time(60)
    provider.good_tokens.remove("access")
    service.pass_time(59)
    page.type("still here")
    page.wait_for("still here")
    service.pass_time(1)
    assert page.wait_for_end() == 4001
    other.type("still here")
    other.wait_for("still here")


def test_provider_that_says_no_to_good_tokens_is_not_asked_again(without_renewal: WebService) -> None:
    service, provider = without_renewal, without_renewal.provider
    provider.bend_introspection, provider.bend_userinfo, provider.good_tokens = {"active": False}, {}, set()
    page = service.terminal()
    for _ in range(3):
        service.pass_time(60)
    assert [provider.calls.count(path) for path in ("/introspect", "/userinfo")] == [1, 1]
    page.type("still here")
    page.wait_for("still here")


@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_provider_that_cannot_say_whether_a_token_is_revoked_ends_no_terminal(
    without_renewal: WebService, status: int
) -> None:
    service, provider = without_renewal, without_renewal.provider
    page = service.terminal()
    service.pass_time(1)
    provider.status["/introspect"] = status
    for _ in range(2):
        service.pass_time(60)
    page.type("still here")
    page.wait_for("still here")
    provider.status.clear()
    service.pass_time(60)
    provider.good_tokens.clear()
    service.pass_time(60)
    assert page.wait_for_end() == 4001


def test_token_that_ends_by_itself_ends_no_terminal(without_renewal: WebService) -> None:
    service, provider = without_renewal, without_renewal.provider
    provider.bend_tokens["expires_in"] = 300
    page = service.terminal()
    service.pass_time(1)
    service.pass_time(270)
    provider.good_tokens.clear()
    service.pass_time(300)
    assert provider.calls.count("/introspect") == 1
    page.type("still here")
    page.wait_for("still here")


def test_token_is_checked_only_while_a_terminal_is_open(without_renewal: WebService) -> None:
    service = without_renewal
    browser = service.browser()
    for _ in range(3):
        service.pass_time(60)
    assert service.provider.calls.count("/introspect") == 1, "the provider says what it can answer"
    service.terminal(browser)
    service.provider.good_tokens.clear()
    service.pass_time(1)
    assert browser.http.get(f"{service.url}/api/terminals", timeout=10).status_code == 401


def test_sign_out_revokes_the_tokens(service: WebService) -> None:
    service.provider.bend_metadata["revocation_endpoint"] = f"{service.provider.issuer}/revoke"
    browser = service.browser()
    assert service.provider.refresh_tokens
    page = service.terminal(browser)
    browser.post("/sign-out")
    assert page.wait_for_end() == 4001
    assert service.provider.refresh_tokens == {}
    assert browser.http.cookies.get("sshaft-web") is None


def test_person_has_few_sessions(service: WebService) -> None:
    """The oldest ends: a script that signs in again and again fills no memory."""
    first = service.browser("often")
    for _ in range(16):
        service.browser("often")
    assert first.http.get(f"{service.url}/api/terminals", timeout=10).status_code == 401
    assert len(list(service.state.sessions)) == 16


# Back-channel logout


def logout_claims(service: WebService, **changes: Any) -> dict[str, Any]:
    now = int(service.clock.now().timestamp())
    claims: dict[str, Any] = {
        "iss": service.provider.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": f"{time.monotonic_ns()}",
        "sub": "alice", "events": {EVENT: {}},
    }  # fmt: skip
    return {name: value for name, value in (claims | changes).items() if value is not None}


def logout_token(service: WebService, typ: str = "logout+jwt", **changes: Any) -> str:
    header = {"alg": "RS256", "typ": typ, "kid": service.provider.key.kid}
    return jwt.encode(header, logout_claims(service, **changes), service.provider.key)


def tell(service: WebService, *tokens: str) -> int:
    form = [("logout_token", each) for each in tokens]
    return requests.post(f"{service.url}/back-channel-logout", data=form, timeout=10).status_code


def is_signed_in(browser: WebBrowser) -> bool:
    return browser.http.get(f"{browser.url}/api/terminals", timeout=10).status_code == 200


def test_logout_token_ends_all_sessions_of_the_person(service: WebService) -> None:
    first, second, other = service.browser("alice"), service.browser("alice"), service.browser("bob")
    page = service.terminal(first)
    assert tell(service, logout_token(service)) == 200
    assert page.wait_for_end() == 4001
    assert [is_signed_in(each) for each in (first, second, other)] == [False, False, True]


@pytest.mark.parametrize("sub", ["alice", None])
def test_logout_token_with_a_sid_ends_that_session(service: WebService, sub: str | None) -> None:
    first, second = service.browser("alice", sid="one"), service.browser("alice", sid="two")
    without = service.browser("bob")
    assert tell(service, logout_token(service, sub=sub, sid="one")) == 200
    assert [is_signed_in(each) for each in (first, second, without)] == [False, True, True]


def test_logout_token_of_nobody_here_is_right_too(service: WebService) -> None:
    assert tell(service, logout_token(service, sub="somebody")) == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"aud": "another-client"},
        {"aud": []},
        {"iat": 0},
        {"iat": 10**10},
        {"iat": None},
        {"exp": 1},
        {"jti": None},
        {"jti": ""},
        {"events": None},
        {"events": {}},
        {"events": {EVENT: None}},
        {"events": {EVENT: "yes"}},
        {"events": [EVENT]},
        {"nonce": "n"},
        {"nonce": ""},
        {"sub": None},
        {"sub": ["alice"]},
        {"sub": None, "sid": ""},
    ],
)
def test_logout_token_that_proves_nothing_ends_nothing(service: WebService, changes: dict[str, Any]) -> None:
    browser = service.browser("alice")
    assert tell(service, logout_token(service, **changes)) == 400
    assert is_signed_in(browser)


def test_id_token_is_no_logout_token(service: WebService) -> None:
    browser = service.browser("alice")
    assert tell(service, logout_token(service, "JWT", events=None, nonce="n")) == 400
    assert tell(service, logout_token(service, "at+jwt")) == 400
    assert is_signed_in(browser)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_logout_token_needs_a_signature_of_the_provider(service: WebService, forgery: str) -> None:
    browser = service.browser("alice")
    header = {"alg": "RS256", "typ": "logout+jwt", "kid": service.provider.key.kid}
    assert tell(service, FORGERIES[forgery](service.provider)(header, logout_claims(service))) == 400
    assert is_signed_in(browser)


def test_logout_token_counts_once(service: WebService) -> None:
    token = logout_token(service)
    assert tell(service, token) == 200
    browser = service.browser("alice")
    assert tell(service, token) == 400
    assert is_signed_in(browser)


@pytest.mark.parametrize("tokens", [[], ["x"], ["x" * 20000], ["a", "b"], ["..", "."], ["e30.e30.e30"]])
def test_request_without_one_logout_token_is_refused(service: WebService, tokens: list[str]) -> None:
    assert tell(service, *tokens) == 400


def test_unknown_body_is_refused(service: WebService) -> None:
    for body in (b"\xff\xfe", b"a=b&" * 50, b"{}", b"x" * 30000):
        assert requests.post(f"{service.url}/back-channel-logout", data=body, timeout=10).status_code == 400
    assert requests.post(f"{service.url}/back-channel-logout", data=b"x" * 50000, timeout=10).status_code == 413
