"""Tests the face `auth0`: a signed token begins a login, and a signed answer goes back once."""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from fakes.public_keys import ed25519
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from service.browser import ORIGIN, Browser, code_on, heading
from service.service import Service
from service.typing_provider import refusals

from sshaft_identity.clients.clients import Client

DOMAIN = "example.eu.auth0.com"
SALT = "a-salt-of-22-letters-x"


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


@dataclass
class Tenant:
    service: Service
    client_id: str = "auth0"
    options: dict[str, Any] = field(default_factory=lambda: {"domain": DOMAIN, "salt": SALT, "app": "The shop"})

    def __post_init__(self) -> None:
        self.service.store.clients.add(
            Client(self.client_id, frozenset([]), faces={"auth0": self.options}), self.service.clock()
        )

    @property
    def key(self) -> str:
        return self.service.store.codes.shared("auth0", self.client_id, str(self.options["salt"]))

    def token(self, *, signed_by: Any = None, alg: str = "HS256", **more: Any) -> str:
        now = int(self.service.clock().timestamp())
        claims = {
            "iss": DOMAIN, "sub": "auth0|123", "ip": "192.0.2.7", "iat": now, "exp": now + 120, "aud": ORIGIN,
            "user": "alice",
        }  # fmt: skip
        claims = {name: value for name, value in (claims | more).items() if value is not None}
        return jwt.encode({"alg": alg}, claims, signed_by or OctKey.import_key(self.key), algorithms=[alg])

    def send(self, browser: Browser, token: str | None = None, state: str = "the state") -> requests.Response:
        query = requests.models.PreparedRequest()
        query.prepare_url("http://x/", {"session_token": self.token() if token is None else token, "state": state})
        return browser.get(f"/auth0/{self.client_id}?{(query.url or '').partition('?')[2]}")

    def begin(self, browser: Browser, **more: Any) -> tuple[str, str]:
        """Returns the page of the login and its code."""
        answer = self.send(browser, **more)
        assert answer.status_code == 303, answer.text
        page = answer.headers["Location"]
        return page, code_on(browser.get(page))

    def answer(self, page: requests.Response, state: str = "the state") -> dict[str, Any]:
        """Checks like `validateToken` what the browser posts to the tenant, and returns the claims."""
        assert page.status_code == 200, page.text
        action = re.search(r'<form[^>]*action="([^"]*)"', page.text)
        value = re.search(r'name="answer" value="([^"]*)"', page.text)
        assert action
        assert value
        assert (
            unescape(action[1])
            == f"https://{DOMAIN}/continue?state={requests.utils.quote(state, safe='').replace('%20', '+')}"
        )
        decoded = jwt.decode(unescape(value[1]), OctKey.import_key(self.key), algorithms=["HS256"])
        claims, now = decoded.claims, self.service.clock().timestamp()
        assert {"iat", "exp", "sub", "iss", "state"} <= claims.keys()
        assert claims["state"] == state
        assert claims["iat"] <= now < claims["exp"]
        return dict(claims)


@pytest.fixture
def tenant(service: Service) -> Tenant:
    return Tenant(service)


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


def passes(service: Service, fingerprint: str, code: str, user: str = "alice") -> None:
    passed = service.accept(user, code=code, fingerprint=fingerprint, confirmed=True)
    assert passed.json()["state"] == "accepted", passed.text


def test_answer_of_a_passed_login_is_signed(service: Service, tenant: Tenant, browser: Browser, alice: str) -> None:
    page, code = tenant.begin(browser)
    assert "The shop" in browser.get(page).text
    passes(service, alice, code)
    finished = browser.get(f"{page}/finish")
    claims = tenant.answer(finished)
    now = int(service.clock().timestamp())
    assert claims == {
        "iss": ORIGIN, "aud": DOMAIN, "sub": "auth0|123", "state": "the state", "iat": now, "exp": now + 120,
        "result": "passed", "acr": "urn:sshaft:acr:code", "amr": ["swk", "pop"], "auth_time": now,
    }  # fmt: skip
    # Auth0 redirects on to the application, and Chromium applies form-action to this redirect, too
    assert "form-action" not in finished.headers["Content-Security-Policy"]
    service.clock.advance(60)
    assert browser.get(f"{page}/finish").status_code == 410


def test_ui_locales_choose_the_language_of_the_page(tenant: Tenant, browser: Browser) -> None:
    query = urlencode({"session_token": tenant.token(), "ui_locales": "de en", "state": "the state"})
    page = browser.get(f"/auth0/auth0?{query}").headers["Location"]
    assert '<html lang="de"' in browser.get(page).text


def test_answer_of_a_failed_login_is_signed(service: Service, tenant: Tenant, browser: Browser, alice: str) -> None:
    page, _ = tenant.begin(browser)
    service.reject(fingerprint=alice)
    claims = tenant.answer(browser.get(f"{page}/finish"))
    assert (claims["result"], claims["sub"]) == ("failed", "auth0|123")
    assert "amr" not in claims
    assert refusals(service) == ["access_denied"]


def test_session_token_begins_one_login(service: Service, tenant: Tenant, browser: Browser) -> None:
    token = tenant.token()
    tenant.begin(browser, token=token)
    again = tenant.send(Browser(service), token)
    assert (again.status_code, heading(again)) == (400, "This login cannot begin")
    assert len(service.store.challenges.recent()) == 1


def test_login_belongs_to_the_browser_that_began_it(
    service: Service, tenant: Tenant, browser: Browser, alice: str
) -> None:
    page, code = tenant.begin(browser)
    passes(service, alice, code)
    for path in (page, f"{page}/finish"):
        assert Browser(service).get(path).status_code == 404
    assert tenant.answer(browser.get(f"{page}/finish"))["result"] == "passed"


def test_answer_begins_no_login(service: Service, tenant: Tenant, browser: Browser, alice: str) -> None:
    page, code = tenant.begin(browser)
    passes(service, alice, code)
    value = re.search(r'name="answer" value="([^"]*)"', browser.get(f"{page}/finish").text)
    assert value
    assert tenant.send(browser, unescape(value[1])).status_code == 400


@pytest.mark.parametrize(
    "more",
    [
        {"aud": None}, {"aud": DOMAIN}, {"aud": [ORIGIN]}, {"sub": None}, {"sub": ""}, {"sub": 7}, {"user": None},
        {"user": ""}, {"user": "-oProxyCommand=x"}, {"user": "a b"}, {"user": "x" * 65}, {"exp": None}, {"exp": "soon"},
        {"exp": True}, {"exp": 0}, {"exp": -1}, {"exp": 10**12}, {"sub": "x" * 300},
    ],
)  # fmt: skip
def test_odd_claims_are_refused(service: Service, tenant: Tenant, browser: Browser, more: dict[str, Any]) -> None:
    assert tenant.send(browser, tenant.token(**more)).status_code == 400
    assert service.store.challenges.recent() == []
    assert refusals(service) == ["invalid_request"]


def test_tokens_without_the_signature_of_the_action_are_refused(
    service: Service, tenant: Tenant, browser: Browser
) -> None:
    other = Tenant(service, "other", {"domain": DOMAIN, "salt": SALT})
    again = Tenant(service, "again", {"domain": DOMAIN, "salt": "another-salt-of-22-let"})
    header, claims, _ = tenant.token().split(".")
    for token in (
        "", "x", "a.b.c", "." * 5, "x" * 20_000, "\u202e", "a\r\nb",
        f"{header}.{claims}.", f"eyJhbGciOiJub25lIn0.{claims}.",
        tenant.token(signed_by=OctKey.import_key("x" * 43)),
        tenant.token(signed_by=RSAKey.generate_key(2048), alg="RS256"),
        other.token(), again.token(),
    ):  # fmt: skip
        assert tenant.send(browser, token).status_code == 400, token
    assert service.store.challenges.recent() == []
    assert len(service.refusals()) == 13


def test_expired_session_token_is_refused(service: Service, tenant: Tenant, browser: Browser) -> None:
    token = tenant.token()
    service.clock.advance(181)
    assert tenant.send(browser, token).status_code == 400


@pytest.mark.parametrize("state", ["", "x" * 3000])
def test_odd_states_are_refused(service: Service, tenant: Tenant, browser: Browser, state: str) -> None:
    assert tenant.send(browser, state=state).status_code == 400
    assert service.store.challenges.recent() == []


def test_a_state_cannot_lead_elsewhere_or_become_markup(
    service: Service, tenant: Tenant, browser: Browser, alice: str
) -> None:
    state = '"><script>alert(1)</script>&x=https://evil.example.org/\r\nX-Evil: 1'
    page, code = tenant.begin(browser, state=state)
    passes(service, alice, code)
    finished = browser.get(f"{page}/finish")
    assert tenant.answer(finished, state)["state"] == state
    assert "<script>alert" not in finished.text
    assert "X-Evil" not in finished.headers


def test_repeated_parameters_are_refused(service: Service, tenant: Tenant, browser: Browser) -> None:
    path = f"/auth0/auth0?session_token={tenant.token()}&state=a&state=b"
    assert browser.get(path).status_code == 400
    assert service.store.challenges.recent() == []


def test_clients_without_this_face_are_refused(browser: Browser) -> None:
    for name in ("nobody", "test", "..%2f", "%00"):
        assert browser.get(f"/auth0/{name}?session_token=x&state=y").status_code in (400, 404)
    assert browser.post("/auth0/test").status_code == 405


def test_removed_client_gets_no_answer(service: Service, tenant: Tenant, browser: Browser, alice: str) -> None:
    page, code = tenant.begin(browser)
    passes(service, alice, code)
    service.store.clients.set_face("auth0", "auth0", None, service.clock())
    assert browser.get(f"{page}/finish").status_code == 410
    assert service.store.challenges.recent()[0].state == "accepted"


def test_unknown_user_gets_the_same_page_as_a_known_user(tenant: Tenant, browser: Browser, alice: str) -> None:
    texts = []
    for user in ("alice", "nobody-here"):
        page, code = tenant.begin(browser, token=tenant.token(user=user))
        texts.append(re.sub(rf"{code}|<i>\d+</i>|{user}|{page}|nonce[-=]\S+|value=\"\S+\"", "", browser.get(page).text))
    assert texts[0] == texts[1], alice


def test_shared_key_is_not_in_the_database_or_the_log(
    service: Service, tenant: Tenant, browser: Browser, alice: str
) -> None:
    token = tenant.token()
    page, code = tenant.begin(browser, token=token)
    passes(service, alice, code)
    browser.get(f"{page}/finish")
    with service.store.database.read() as connection:
        dump = "\n".join(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    for secret in (tenant.key, token):
        assert secret not in dump
        assert secret not in service.log.getvalue()
