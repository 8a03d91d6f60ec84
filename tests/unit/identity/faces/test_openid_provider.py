"""Tests the face `openid`: our OpenID Provider."""

import base64
import hmac
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
from fakes.public_keys import sk_ed25519
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from service.browser import ORIGIN, Browser, heading
from service.relying_party import BACK, RelyingParty, back, give_rsa_key
from service.service import Service

from sshaft_identity.web.throttle import Throttle

# --- a login


def test_code_flow_passes_from_the_request_to_the_userinfo(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    came = shop.log_in(browser, "alice", alice, login_hint="alice")
    assert (came["state"], came["iss"]) == ("the state", ORIGIN)
    answer = shop.redeem(came["code"])
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    tokens = answer.json()
    claims = shop.claims(tokens["id_token"])
    assert {name: claims[name] for name in ("iss", "aud", "sub", "nonce", "preferred_username")} == {
        "iss": ORIGIN, "aud": "shop", "sub": "alice", "nonce": "the nonce", "preferred_username": "alice",
    }  # fmt: skip
    assert (claims["acr"], claims["amr"]) == ("urn:sshaft:acr:code", ["swk", "pop"])
    assert claims["auth_time"] == claims["iat"] == int(service.clock().timestamp())
    assert claims["exp"] - claims["iat"] == 300
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert service.call("GET", "/oauth2/userinfo", headers=bearer).json() == {
        "sub": "alice", "preferred_username": "alice",
    }  # fmt: skip
    assert service.audited("request.refused") == []


def test_user_of_the_ssh_key_is_the_subject_without_a_hint(browser: Browser, shop: RelyingParty, alice: str) -> None:
    page, code = shop.begin(browser)
    assert len(code) == 8
    assert "The shop" in browser.get(page).text
    came = shop.log_in(browser, "alice", alice)
    assert shop.claims(shop.redeem(came["code"]).json()["id_token"])["sub"] == "alice"


@pytest.mark.usefixtures("alice")
def test_the_request_may_come_by_post_from_another_site(browser: Browser, shop: RelyingParty) -> None:
    elsewhere = {"Origin": "https://app.example.org", "Sec-Fetch-Site": "cross-site"}
    answer = browser.post("/oauth2/authorize", shop.wishes(), headers=elsewhere)
    assert answer.status_code == 303
    assert browser.get(answer.headers["Location"]).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ui_locales_choose_the_language_of_the_pages_that_follow(
    browser: Browser, shop: RelyingParty, method: str
) -> None:
    wishes = shop.wishes(ui_locales="xx de en")
    query = f"/oauth2/authorize?{urlencode(wishes)}"
    answer = browser.get(query) if method == "GET" else browser.post("/oauth2/authorize", wishes, headers={})
    assert [line.partition(";")[0] for line in browser.set_cookies if "language" in line] == [
        "__Host-sshaft-language=de"
    ]
    page = browser.get(answer.headers["Location"]).text
    assert '<html lang="de"' in page
    assert "Anmeldung bei <bdi>The shop</bdi>" in page


def test_languages_that_there_are_not_change_nothing(browser: Browser, shop: RelyingParty) -> None:
    page, _ = shop.begin(browser, ui_locales="xx ../../etc/passwd %00 <script>")
    assert '<html lang="en"' in browser.get(page).text
    assert "sshaft-language" not in "".join(browser.cookies)


def test_discovery_names_the_languages(service: Service) -> None:
    metadata = service.call("GET", "/.well-known/openid-configuration").json()
    assert metadata["ui_locales_supported"] == ["en", "de"]


def test_every_request_is_a_fresh_challenge(browser: Browser, shop: RelyingParty, alice: str) -> None:
    shop.log_in(browser, "alice", alice, login_hint="alice")
    page, _ = shop.begin(browser, login_hint="alice", max_age="100000")
    assert browser.get(f"{page}/finish").headers["Location"] == page, "the login before counts for nothing"


def test_logins_in_two_tabs_both_end(service: Service, browser: Browser, shop: RelyingParty, alice: str) -> None:
    pages = [shop.begin(browser, state=state) for state in ("one", "two")]
    for (page, code), state in zip(pages, ("one", "two"), strict=True):
        assert service.accept("alice", code=code, fingerprint=alice, confirmed=True).status_code == 200
        assert back(browser.get(f"{page}/finish"))["state"] == state


def test_form_post_page_sends_to_the_redirect_uri_without_a_form_action(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    """Case browser_form_post: Chromium applies `form-action` to the redirects of the application, too."""
    page, code = shop.begin(browser, response_mode="form_post", state='"><script>')
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    answer = browser.get(f"{page}/finish")
    assert "form-action" not in answer.headers["Content-Security-Policy"]
    assert f'action="{BACK}"' in answer.text
    assert '"><script>' not in answer.text
    found = re.search(r'name="code" value="([^"]+)"', answer.text)
    assert found
    assert shop.redeem(found[1]).status_code == 200


def test_id_token_without_scope_profile_has_no_preferred_username(
    browser: Browser, shop: RelyingParty, alice: str
) -> None:
    came = shop.log_in(browser, "alice", alice, scope="openid")
    told = shop.redeem(came["code"]).json()
    assert told["scope"] == "openid"
    assert "preferred_username" not in shop.claims(told["id_token"])


def test_pairwise_subject_depends_on_the_sector(service: Service, browser: Browser, alice: str) -> None:
    parties = [
        RelyingParty(service, name, pairwise_sector=sector)
        for name, sector in (("one", "a.example.org"), ("two", "a.example.org"), ("three", "b.example.org"))
    ]
    subjects = []
    for party in parties:
        came = party.log_in(browser, "alice", alice)
        token = party.redeem(came["code"]).json()["id_token"]
        claims = party.claims(token)
        assert "preferred_username" not in claims
        subjects.append(claims["sub"])
        page, code = party.begin(browser, id_token_hint=token)  # the hint names the person still
        assert len(code) == 8, page
    assert subjects[0] == subjects[1] != subjects[2]
    assert "alice" not in "".join(subjects)


# --- what was proven


@pytest.mark.parametrize(
    ("wanted", "acr"),
    [
        ({"acr_values": "possession"}, "possession"),
        ({"acr_values": "unknown possessionorinherence"}, "possessionorinherence"),
        ({"acr_values": "unknown"}, "urn:sshaft:acr:code"),
        ({"acr_values": "urn:sshaft:acr:verified-code urn:sshaft:acr:code"}, "urn:sshaft:acr:code"),
        ({"claims": '{"id_token":{"acr":{"essential":true,"values":["phr","possession"]}}}'}, "possession"),
        ({"claims": '{"id_token":{"acr":null},"userinfo":{"x":1}}'}, "urn:sshaft:acr:code"),
    ],
)
def test_acr_is_the_first_requested_value_that_is_proven(
    browser: Browser, shop: RelyingParty, alice: str, wanted: dict[str, str], acr: str
) -> None:
    came = shop.log_in(browser, "alice", alice, **wanted)
    assert shop.claims(shop.redeem(came["code"]).json()["id_token"])["acr"] == acr


def test_step_up_lets_only_verified_security_keys_pass(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    (hardware,) = service.add_user("bob", sk_ed25519("bob"))
    wish = {"acr_values": "urn:sshaft:acr:verified-code"}
    _, code = shop.begin(browser, login_hint="alice", **wish)
    assert service.accept("alice", code=code, fingerprint=alice, confirmed=True).status_code == 403
    page, code = shop.begin(browser, login_hint="bob", **wish)
    assert "verify_required" not in service.keys(hardware)[0], "anybody can ask in bob's name"
    assert service.accept("bob", code=code, fingerprint=hardware, confirmed=True).status_code == 403
    assert service.keys(hardware)[0]["verify_required"] is True, "bob's key has brought the code"
    assert service.accept("bob", code=code, fingerprint=hardware, confirmed=True, verified=True).status_code == 200
    claims = shop.claims(shop.redeem(back(browser.get(f"{page}/finish"))["code"]).json()["id_token"])
    assert (claims["acr"], claims["amr"]) == ("urn:sshaft:acr:verified-code", ["hwk", "pop", "user", "mfa"])


@pytest.mark.parametrize(
    "acr",
    [
        {"essential": True, "values": ["phr"]},
        {"essential": True, "value": "https://refeds.org/profile/mfa"},
        {"essential": True, "values": ["urn:sshaft:acr:verified-code"]},  # of nobody in particular
    ],
)
@pytest.mark.usefixtures("alice")
def test_essential_acr_that_cannot_be_proven_is_refused_at_once(
    service: Service, browser: Browser, shop: RelyingParty, acr: dict[str, Any]
) -> None:
    came = back(shop.ask(browser, claims=json.dumps({"id_token": {"acr": acr}})))
    assert (came["error"], came["state"]) == ("unmet_authentication_requirements", "the state")
    assert [each["error"] for each in service.audited("request.refused")] == ["unmet_authentication_requirements"]


# --- requests that are refused


@pytest.mark.parametrize(
    "wishes",
    [
        {"client_id": "nobody"},
        {"client_id": "test"},  # a client of the API, not of logins
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": BACK + "/"},
        {"redirect_uri": BACK + "?x=1"},
        {"redirect_uri": BACK.upper()},
        {"redirect_uri": "https://app.example.org.evil.example/cb"},
        {"redirect_uri": "https://app.example.org/cb\r\nX-Evil: 1"},
        {"redirect_uri": "//evil.example"},
        {"redirect_uri": "javascript:alert(1)"},
    ],
)
def test_unregistered_redirect_uri_leads_to_an_error_page(
    service: Service, browser: Browser, shop: RelyingParty, wishes: dict[str, str]
) -> None:
    answer = shop.ask(browser, **wishes)
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert heading(answer) == "This login cannot begin"
    assert "evil" not in answer.text
    assert len(service.audited("request.refused")) == 1


def test_repeated_parameter_leads_to_an_error_page(service: Service, browser: Browser, shop: RelyingParty) -> None:
    twice = urlencode([*shop.wishes().items(), ("redirect_uri", "https://evil.example/")])
    assert browser.get(f"/oauth2/authorize?{twice}").status_code == 400
    assert len(service.audited("request.refused")) == 1


@pytest.mark.parametrize(
    ("wishes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"request": "x"}, "request_not_supported"),
        ({"request_uri": "https://evil.example/"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"login_hint": "-oProxyCommand=x"}, "invalid_request"),
        ({"login_hint": "a b"}, "invalid_request"),
        ({"claims": "{"}, "invalid_request"),
        ({"claims": "[" * 4000}, "invalid_request"),
        ({"claims": '{"id_token":{"acr":{"essential":"yes"}}}'}, "invalid_request"),
        ({"claims": '{"id_token":{"sub":{"value":7}}}'}, "invalid_request"),
        ({"claims": '{"id_token":{"sub":{"value":"bob"}}}', "login_hint": "alice"}, "invalid_request"),
        ({"state": "x" * 5000}, "invalid_request"),
        ({"id_token_hint": "x.y.z"}, "invalid_request"),
    ],
)
def test_other_errors_go_to_the_redirect_uri(
    service: Service, browser: Browser, shop: RelyingParty, wishes: dict[str, str], error: str
) -> None:
    give_rsa_key(service)
    came = back(shop.ask(browser, **wishes))
    assert (came["error"], came["iss"]) == (error, ORIGIN)
    assert came.get("state") == shop.wishes(**wishes).get("state")
    assert [(each["face"], each["error"]) for each in service.audited("request.refused")] == [("openid", error)]
    assert service.store.challenges.recent() == []


def test_state_cannot_write_a_header(browser: Browser, shop: RelyingParty) -> None:
    answer = shop.ask(browser, prompt="none", state="x\r\nSet-Cookie: evil=1")
    assert "evil" not in answer.headers.get("Set-Cookie", "")
    assert back(answer)["state"] == "x\r\nSet-Cookie: evil=1"


def test_hints_that_are_not_ours_are_refused(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    token = shop.redeem(shop.log_in(browser, "alice", alice)["code"]).json()["id_token"]
    assert len(shop.begin(browser, id_token_hint=token)[1]) == 8
    other = RelyingParty(service, "other")
    assert back(other.ask(browser, id_token_hint=token))["error"] == "invalid_request", "another client's"
    claims = shop.claims(token)
    keys = service.call("GET", "/.well-known/jwks.json").json()["keys"]
    (public,) = [key for key in keys if key["alg"] == "RS256"]
    stranger, body = RSAKey.generate_key(2048), token.split(".")[1]
    confused = base64url(json.dumps({"alg": "HS256", "kid": public["kid"]}).encode()) + f".{body}"
    pem = RSAKey.import_key(public).as_pem(private=False)
    for made in (
        f"{confused}.{base64url(hmac.digest(pem, confused.encode(), 'sha256'))}",
        jwt.encode({"alg": "RS256", "kid": "../../etc/passwd"}, claims, stranger),
        jwt.encode({"alg": "RS256", "kid": public["kid"], "jwk": stranger.as_dict(private=False)}, claims, stranger),
        jwt.encode({"alg": "RS256", "kid": public["kid"]}, claims, RSAKey.generate_key(2048)),
        jwt.encode({"alg": "ES256", "kid": public["kid"]}, claims, ECKey.generate_key("P-256")),
        token.rpartition(".")[0] + ".",
        "eyJhbGciOiJub25lIn0." + token.split(".")[1] + ".",
    ):
        assert back(shop.ask(browser, id_token_hint=made))["error"] == "invalid_request"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


# --- the way back


def test_only_the_browser_that_began_sees_the_login_or_ends_it(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    page, code = shop.begin(browser)
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    thief = Browser(service)
    for path in ("", "/finish"):
        assert heading(thief.get(page + path)) == "No such login"
    for path in ("/state", "/events"):
        assert thief.get(page + path).status_code == 404
    cookie = next(iter(browser.cookies))
    other_page, _ = shop.begin(thief)
    thief.cookies[cookie] = next(iter(thief.cookies.values()))
    assert heading(thief.get(f"{page}/finish")) == "No such login", "the cookie of another login is not this one's"
    assert "code" in back(browser.get(f"{page}/finish")), other_page


def test_page_token_is_in_a_protected_cookie_only(browser: Browser, shop: RelyingParty) -> None:
    answer = shop.ask(browser)
    (cookie,) = browser.set_cookies
    assert cookie.startswith("__Host-sshaft-login-")
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in cookie
    token = next(iter(browser.cookies.values()))
    assert token not in answer.headers["Location"]
    page = browser.get(answer.headers["Location"])
    assert token not in page.text
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"


def test_browser_is_led_on_again_until_the_code_is_redeemed(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    """Case browser_reload: only the last code counts, and no browser is led on after its use."""
    page, code = shop.begin(browser)
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    first = back(browser.get(f"{page}/finish"))["code"]
    assert browser.get(page).headers["Location"] == f"{page}/finish"
    assert heading(Browser(service).get(f"{page}/finish")) == "No such login"
    service.clock.advance(59)
    second = back(browser.get(f"{page}/finish"))["code"]
    assert shop.redeem(first).json()["error"] == "invalid_grant"
    assert shop.redeem(second).status_code == 200
    assert heading(browser.get(f"{page}/finish")) == "Login already finished"
    assert len(service.audited("challenge.consumed")) == 1


def test_browser_is_not_led_on_again_after_the_lifetime_of_the_code(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    """Case browser_reload: reloads do not make the time longer."""
    page, code = shop.begin(browser)
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    for _ in range(2):
        assert "code" in back(browser.get(f"{page}/finish"))
        service.clock.advance(30)
    assert heading(browser.get(f"{page}/finish")) == "Login already finished"


def test_clicks_at_the_same_time_all_lead_on(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    """Case browser_reload: a double click on the last step."""
    page, code = shop.begin(browser)
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    with ThreadPoolExecutor(4) as pool:
        codes = {back(each)["code"] for each in pool.map(lambda _: browser.get(f"{page}/finish"), range(8))}
    assert sorted(shop.redeem(each).status_code for each in codes) == [200] + [400] * (len(codes) - 1)
    assert len(service.audited("challenge.consumed")) == 1


@pytest.mark.usefixtures("alice")
def test_a_denied_login_leads_back_with_an_error(service: Service, browser: Browser, shop: RelyingParty) -> None:
    page, _ = shop.begin(browser, login_hint="alice")
    assert service.reject().status_code == 200
    text = browser.get(page).text
    assert "Denied" in text
    assert f'href="{page}/finish"' in text
    came = back(browser.get(f"{page}/finish"))
    assert (came["error"], came["state"]) == ("access_denied", "the state")
    assert [each["error"] for each in service.audited("request.refused")] == ["access_denied"]


@pytest.mark.usefixtures("alice")
def test_expired_login_leads_back_with_an_error(service: Service, browser: Browser, shop: RelyingParty) -> None:
    page, _ = shop.begin(browser)
    service.clock.advance(301)
    assert back(browser.get(f"{page}/finish"))["error"] == "access_denied"
    service.clock.advance(61)
    assert browser.get(f"{page}/finish").status_code == 404


@pytest.mark.usefixtures("alice")
def test_unknown_user_gets_the_same_page_as_a_known_user(browser: Browser, shop: RelyingParty) -> None:
    known, _ = shop.begin(browser, login_hint="alice")
    unknown, _ = shop.begin(browser, login_hint="nobody-here")
    pages = [browser.get(each).text for each in (known, unknown)]
    same = [re.sub(r"[0-9a-f]{32}|nonce(-|=\")[\w-]+|\d{8}|<i>\d{4}</i>|alice|nobody-here", "", page) for page in pages]
    assert re.sub(r'value="[^"]*"', "", same[0]) == re.sub(r'value="[^"]*"', "", same[1])


# --- codes


def test_second_use_of_a_code_revokes_its_access_token(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    code = shop.log_in(browser, "alice", alice)["code"]
    bearer = {"Authorization": f"Bearer {shop.redeem(code).json()['access_token']}"}
    assert service.call("GET", "/oauth2/userinfo", headers=bearer).status_code == 200
    again = shop.redeem(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert service.call("GET", "/oauth2/userinfo", headers=bearer).status_code == 401
    assert len(service.audited("request.refused")) == 2


def test_code_expires_after_a_minute(service: Service, browser: Browser, shop: RelyingParty, alice: str) -> None:
    code = shop.log_in(browser, "alice", alice)["code"]
    service.clock.advance(60)
    assert shop.redeem(code).json()["error"] == "invalid_grant"


def test_code_is_refused_from_another_client(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    code = shop.log_in(browser, "alice", alice)["code"]
    thief = RelyingParty(service, "thief", verifier=shop.verifier)
    assert thief.redeem(code).json()["error"] == "invalid_grant"
    assert shop.redeem(code).status_code == 200, "the thief has not used it up"


@pytest.mark.parametrize(
    "form",
    [
        {"redirect_uri": None},
        {"redirect_uri": BACK + "/"},
        {"code_verifier": None},
        {"code_verifier": "x" * 43},
        {"code": None},
        {"code": "x"},
    ],
)
def test_token_request_that_differs_from_the_request_is_refused(
    service: Service, browser: Browser, shop: RelyingParty, alice: str, form: dict[str, str | None]
) -> None:
    code = shop.log_in(browser, "alice", alice)["code"]
    answer = shop.redeem(**({"code": code} | form))  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert len(service.audited("request.refused")) == 1


def test_a_legacy_client_may_go_without_pkce_but_not_halfway(service: Service, browser: Browser, alice: str) -> None:
    old = RelyingParty(service, "old", options={"redirect_uris": [BACK], "pkce": False})
    bare: dict[str, str | None] = {"code_challenge": None, "code_challenge_method": None}
    assert old.redeem(old.log_in(browser, "alice", alice, **bare)["code"], code_verifier=None).status_code == 200
    assert old.redeem(old.log_in(browser, "alice", alice, **bare)["code"]).json()["error"] == "invalid_grant"
    assert old.redeem(old.log_in(browser, "alice", alice)["code"], code_verifier=None).status_code == 400


def test_access_token_of_a_user_does_not_open_the_api(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    token = shop.redeem(shop.log_in(browser, "alice", alice)["code"]).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert service.call("POST", "/api/v1/challenges", json={"user": "alice"}, headers=bearer).status_code == 403
    for wrong in ({}, {"Authorization": "Bearer x"}, service.bearer("challenges")):
        assert service.call("GET", "/oauth2/userinfo", headers=wrong).status_code == 401


# --- clients that prove themselves by a key


@pytest.fixture
def assertion(service: Service, shop: RelyingParty) -> Any:
    key = ECKey.generate_key("P-256")
    service.store.revocation.remove_client(shop.client_id, service.clock())
    shop.jwks = {"keys": [key.as_dict(private=False)]}
    shop.register()

    def make(by: Any = key, algorithm: str = "ES256", **more: Any) -> dict[str, str]:
        now = int(service.clock().timestamp())
        claims = {"iss": "shop", "sub": "shop", "aud": ORIGIN, "exp": now + 60, "jti": "1"} | more
        return {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode({"alg": algorithm}, claims, by),
        }

    return make


def token_by(service: Service, assertion: dict[str, str], **more: str) -> tuple[int, str | None]:
    answer = service.call("POST", "/oauth2/token", data={"grant_type": "client_credentials"} | assertion | more)
    return answer.status_code, answer.json().get("error")


def test_client_assertion_authenticates_once(service: Service, assertion: Any) -> None:
    made = assertion()
    assert token_by(service, made) == (200, None)
    assert token_by(service, made) == (401, "invalid_client"), "the same again"
    assert token_by(service, assertion(jti="2", aud=[f"{ORIGIN}/oauth2/token"])) == (200, None)


def test_client_with_a_key_has_no_secret(service: Service, shop: RelyingParty, assertion: Any) -> None:
    secret = {"client_id": "shop", "client_secret": shop.secret}
    assert token_by(service, {}, **secret) == (401, "invalid_client")
    assert token_by(service, assertion(), **secret) == (400, "invalid_request")


@pytest.mark.parametrize(
    "bent",
    [
        {"iss": "test"},
        {"iss": "nobody"},
        {"sub": "test"},
        {"aud": "https://other.example.org"},
        {"exp": 0},
        {"exp": 2**60},
        {"exp": -1e300},
        {"jti": None},
        {"by": ECKey.generate_key("P-256")},
    ],
)
def test_invalid_client_assertions_are_refused(service: Service, assertion: Any, bent: dict[str, Any]) -> None:
    assert token_by(service, assertion(**bent)) == (401, "invalid_client")
    assert len(service.audited("request.refused")) == 1


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJzaG9wIn0."])
def test_odd_client_assertions_are_refused(service: Service, assertion: Any, text: str) -> None:
    made = assertion() | {"client_assertion": text}
    assert token_by(service, made)[1] in ("invalid_client", "invalid_request")


# --- what it says of itself


def test_discovery_has_the_metadata_of_ciba(service: Service) -> None:
    answer = service.call("GET", "/.well-known/openid-configuration")
    told = answer.json()
    assert told["issuer"] == ORIGIN
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert "authorization_code" in told["grant_types_supported"]
    assert "none" not in json.dumps(told)
    assert "end_session_endpoint" not in told
    for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"):
        path = told[name].removeprefix(ORIGIN)
        assert service.call("GET", path).status_code in (200, 400, 401, 405)


# --- many logins of one address


def test_stranger_at_the_same_address_delays_no_known_browser_and_no_login_under_way(
    service: Service, shop: RelyingParty, alice: str
) -> None:
    """Finding S16: 1,001 requests of a stranger gave everybody at the address 429."""
    service.replace(login_throttle=Throttle(3))
    known, beginner, stranger = Browser(service), Browser(service), Browser(service)
    shop.log_in(known, "alice", alice)
    page, code = shop.begin(beginner)
    while shop.ask(Browser(service)).status_code == 303:
        pass
    refused = shop.ask(stranger)
    assert (refused.status_code, heading(refused)) == (429, "Too many logins")
    assert "Try again in 300 seconds." in refused.text
    assert beginner.get(page).status_code == 200
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    assert back(beginner.get(f"{page}/finish"))["code"]
    shop.log_in(known, "alice", alice)
    shop.log_in(beginner, "alice", alice)


def test_browser_that_begins_anew_replaces_its_own_login_when_its_address_has_too_many(
    service: Service, shop: RelyingParty
) -> None:
    """Finding S16."""
    service.replace(login_throttle=Throttle(2))
    browser = Browser(service)
    first, _ = shop.begin(browser)
    shop.begin(Browser(service))
    for _ in range(3):
        second, _ = shop.begin(browser)
    assert heading(browser.get(first)) == "Cancelled"
    assert heading(browser.get(second)) == "Confirm with SSH"
    assert shop.ask(Browser(service)).status_code == 429
    service.clock.advance(300)
    assert shop.ask(Browser(service)).status_code == 303


def test_mark_of_a_known_browser_cannot_be_made_up(service: Service, shop: RelyingParty, alice: str) -> None:
    """Finding S16."""
    service.replace(login_throttle=Throttle(1))
    shop.begin(Browser(service))
    name = "__Host-sshaft-known"
    known = Browser(service)
    sign_in = known.begin()
    service.accept("alice", code=sign_in, fingerprint=alice, confirmed=True)
    known.get("/sign-in/ssh")
    mark = known.cookies[name]
    for bent in ("a" * 64, f"a{mark}", mark.replace(".", "0.", 1), mark[:-1] + ("0" if mark[-1] != "0" else "1")):
        browser = Browser(service, {name: bent})
        assert shop.ask(browser).status_code == 429
    assert shop.ask(Browser(service, {name: mark})).status_code == 303
    refused = shop.ask(Browser(service, {name: mark}))
    assert refused.status_code == 429
    assert "in this browser" in refused.text
    service.clock.advance(90 * 86400)
    shop.begin(Browser(service))
    assert shop.ask(Browser(service, {name: mark})).status_code == 429
