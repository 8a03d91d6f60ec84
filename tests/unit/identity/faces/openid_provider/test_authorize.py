"""Tests each decision of the authorization endpoint: what is refused with which words, and what is stored."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from fakes.public_keys import ed25519
from service.browser import ORIGIN, Browser, heading
from service.relying_party import BACK, RelyingParty, back
from service.service import SETTINGS, START, Service
from sqlalchemy import update
from starlette.requests import Request

from sshaft_identity.challenges.challenge import Challenge, Context
from sshaft_identity.database.tables import challenges
from sshaft_identity.face_support.face_requests import FaceRequests, Returns
from sshaft_identity.faces.openid_provider.authorize import Details, _is_requested, metadata
from sshaft_identity.web.call import Call

LONG = "state, nonce, acr_values and claims have at most 4096 characters"
NO_USER = "the hints name no user, or more than one user"
CLAIMS = "claims does not follow OpenID Connect Core 1.0 §5.5"
MODE = "response_mode must be query or form_post"
PKCE = "code_challenge must have the method S256"
SSH = "every login needs SSH, so prompt=none never succeeds"
ACR = "the requested acr cannot be proven here"
VERIFIED = "urn:sshaft:acr:verified-code"


def acr(**more: Any) -> str:
    return json.dumps({"id_token": {"acr": more}})


def test_metadata_names_what_the_endpoint_does() -> None:
    assert metadata(SETTINGS) == {
        "authorization_endpoint": f"{ORIGIN}/oauth2/authorize",
        "userinfo_endpoint": f"{ORIGIN}/oauth2/userinfo",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "scopes_supported": ["openid", "profile"],
        "claims_supported": ["sub", "acr", "amr", "auth_time", "preferred_username"],
        "claim_types_supported": ["normal"],
        "claims_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "acr_values_supported": [
            "urn:sshaft:acr:code", VERIFIED, "possession", "possessionorinherence", "knowledgeorpossession",
            "knowledgeorpossessionorinherence",
        ],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wishes", "error", "description"),
    [
        ({"request": "x"}, "request_not_supported", "request is not supported"),
        ({"request_uri": "x"}, "request_uri_not_supported", "request_uri is not supported"),
        ({"registration": "x"}, "registration_not_supported", "registration is not supported"),
        ({"response_type": "token"}, "unsupported_response_type", "response_type must be code"),
        ({"response_type": None}, "unsupported_response_type", "response_type must be code"),
        ({"response_mode": "fragment"}, "invalid_request", MODE),
        ({"scope": "profile"}, "invalid_scope", "scope must contain openid"),
        ({"scope": None}, "invalid_scope", "scope must contain openid"),
        ({"state": "x" * 4097}, "invalid_request", LONG),
        ({"nonce": "x" * 4097}, "invalid_request", LONG),
        ({"acr_values": "x" * 4097}, "invalid_request", LONG),
        ({"claims": "{}" + " " * 4095}, "invalid_request", LONG),
        ({"max_age": "1234567890"}, "invalid_request", "max_age must be a number of seconds"),
        ({"max_age": "1s"}, "invalid_request", "max_age must be a number of seconds"),
        ({"prompt": "none"}, "login_required", SSH),
        ({"prompt": "login none"}, "invalid_request", SSH),
        ({"code_challenge": None}, "invalid_request", "code_challenge is missing: PKCE is required (RFC 7636)"),
        ({"code_challenge_method": "plain"}, "invalid_request", PKCE),
        ({"code_challenge": "x" * 42}, "invalid_request", PKCE),
        ({"code_challenge": "x" * 44}, "invalid_request", PKCE),
        ({"code_challenge": "x" * 42 + "="}, "invalid_request", PKCE),
        ({"claims": "{"}, "invalid_request", CLAIMS),
        ({"claims": "[" * 4000}, "invalid_request", CLAIMS),
        ({"claims": '{"id_token": []}'}, "invalid_request", CLAIMS),
        ({"claims": '{"id_token": {"sub": "alice"}}'}, "invalid_request", CLAIMS),
        ({"claims": acr(values=["x"] * 33)}, "invalid_request", CLAIMS),
        ({"claims": '{"id_token": {"sub": {"value": 7}}}'}, "invalid_request", "claims: sub is not a text"),
        ({"login_hint": "a b"}, "invalid_request", NO_USER),
        ({"login_hint": "alice", "claims": '{"id_token": {"sub": {"value": "bob"}}}'}, "invalid_request", NO_USER),
        ({"claims": acr(essential=True, value="phr")}, "unmet_authentication_requirements", ACR),
        ({"claims": acr(essential=True, value=VERIFIED)}, "unmet_authentication_requirements", ACR),
    ],
)
def test_refusal_goes_back_with_its_reason(
    service: Service, browser: Browser, shop: RelyingParty, wishes: dict[str, str], error: str, description: str
) -> None:
    came = back(shop.ask(browser, **wishes))
    assert (came["error"], came["error_description"], came["iss"]) == (error, description, ORIGIN)
    assert came["state"] == wishes.get("state", "the state")
    (event,) = service.audited("request.refused")
    assert (event["face"], event["error"], event["reason"]) == ("openid", error, description)
    assert service.store.challenges.recent() == []


@pytest.mark.parametrize(
    "wishes",
    [
        {"state": "x" * 4096},
        {"nonce": "x" * 4096},
        {"acr_values": "x" * 4096},
        {"claims": "{}" + " " * 4094},
        {"max_age": "123456789"},
        {"prompt": "login"},
        {"response_mode": "form_post"},
        {"response_mode": None, "state": None, "nonce": None},
        {"claims": acr(values=["x"] * 32)},
        {"claims": '{"id_token": {"acr": null, "sub": {"value": "alice"}}, "userinfo": 1}', "login_hint": "alice"},
        {"claims": '{"id_token": {"sub": {"essential": true}}}'},
        {"claims": acr(essential=True, value=VERIFIED), "login_hint": "alice"},
        {"claims": acr(essential=True, values=["phr", "possession"])},
        {"claims": acr(value=VERIFIED)},
    ],
)
def test_request_within_the_limits_begins_a_login(shop: RelyingParty, browser: Browser, wishes: dict[str, str]) -> None:
    assert shop.begin(browser, **wishes)


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"client_id": "nobody"}, "the client is not registered for OpenID Connect here"),
        ({"client_id": "test"}, "the client is not registered for OpenID Connect here"),
        ({"client_id": None}, "the client is not registered for OpenID Connect here"),
        ({"redirect_uri": None}, "the redirect_uri is not registered for the client"),
        ({"redirect_uri": f"{BACK}x"}, "the redirect_uri is not registered for the client"),
    ],
)
def test_request_without_a_known_way_back_is_told_to_the_person(
    service: Service, browser: Browser, shop: RelyingParty, wishes: dict[str, str], reason: str
) -> None:
    answer = shop.ask(browser, **wishes)
    sentence = f"The application that sent you here is not set up correctly: {reason}. Tell its administrator."
    assert answer.status_code == 400
    assert sentence in answer.text
    (event,) = service.audited("request.refused")
    assert (event["face"], event["error"], event["reason"]) == ("openid", "invalid_request", reason)
    assert "client" not in event, "anybody can name the client"


@pytest.mark.parametrize(("method", "part"), [("GET", "params"), ("POST", "data")])
def test_request_that_is_no_form_is_told_to_the_person(
    service: Service, shop: RelyingParty, method: str, part: str
) -> None:
    form, headers = urlencode(shop.wishes()), {"Content-Type": "application/x-www-form-urlencoded"}
    answer = service.call(method, "/oauth2/authorize", headers=headers, **{part: f"{form}&state=another"})
    assert answer.status_code == 400
    assert "The application that sent you here is not set up correctly: a parameter came twice." in answer.text


def test_request_by_post_begins_a_login(browser: Browser, shop: RelyingParty) -> None:
    answer = browser.post("/oauth2/authorize", shop.wishes(), headers={})
    assert answer.headers["Location"].startswith("/login/")


def test_refusal_goes_back_as_the_request_says(browser: Browser, shop: RelyingParty) -> None:
    answer = shop.ask(browser, response_mode="form_post", prompt="none", state=None)
    assert answer.status_code == 200
    assert f'action="{BACK}"' in answer.text
    sent = dict(re.findall(r'name="(.*?)" value="(.*?)"', answer.text))
    assert sent == {"error": "login_required", "error_description": SSH, "iss": ORIGIN}


@pytest.mark.parametrize(
    ("wishes", "stored"),
    [
        ({}, {}),
        ({"scope": "email profile openid"}, {"scope": "openid profile"}),
        ({"scope": "openid"}, {"scope": "openid"}),
        ({"response_mode": "form_post"}, {"response_mode": "form_post"}),
        ({"state": None, "nonce": None}, {"state": None, "nonce": None}),
        ({"acr_values": "a b"}, {"acr": ["a", "b"]}),
        ({"acr_values": "a", "claims": acr(value="b", values=["c"])}, {"acr": ["b", "c"]}),
        ({"acr_values": "a", "claims": acr(essential=True)}, {"acr": ["a"]}),
        ({"claims": acr(essential=True, values=["possession"])}, {"acr": ["possession"], "essential": True}),
        ({"claims": '{"id_token": {"sub": {"value": "alice"}}}'}, {"subject": "alice"}),
        ({"login_hint": "alice"}, {}),
    ],
)
@pytest.mark.usefixtures("alice")
def test_request_is_stored_for_the_way_back(
    service: Service, browser: Browser, shop: RelyingParty, wishes: dict[str, str | None], stored: dict[str, Any]
) -> None:
    page, _ = shop.begin(browser, **wishes)
    request = FaceRequests(service.store.database, "openid").get(page.removeprefix("/login/"))
    usual = {
        "redirect_uri": BACK, "response_mode": "query", "state": "the state", "nonce": "the nonce",
        "code_challenge": shop.wishes()["code_challenge"], "scope": "openid profile", "acr": [], "essential": False,
        "subject": None,
    }  # fmt: skip
    assert request
    assert (request.client_id, request.details) == ("shop", usual | stored)
    (found,) = service.store.challenges.recent()
    assert found.context.app == "The shop"


@pytest.mark.parametrize(
    ("wishes", "hint", "verify_required"),
    [
        ({}, None, False),
        ({"login_hint": "alice"}, "alice", False),
        ({"claims": '{"id_token": {"sub": {"value": "nobody"}}}'}, "nobody", False),
        ({"acr_values": VERIFIED}, None, False),
        ({"acr_values": VERIFIED, "login_hint": "alice"}, "alice", True),
    ],
)
def test_unauthenticated_request_names_a_hint_and_no_user(
    service: Service, browser: Browser, wishes: dict[str, str], hint: str | None, verify_required: bool
) -> None:
    bare = RelyingParty(service, "bare", options={"redirect_uris": [BACK]})
    answer = bare.ask(browser, **wishes)
    assert answer.status_code == 303
    (found,) = service.store.challenges.recent()
    assert (found.user, found.hint, found.client, found.verify_required) == (None, hint, "bare", verify_required)
    assert (found.context.app, found.context.ip) == ("bare", "127.0.0.1")
    assert found.context.user_agent
    assert (found.expires_at - found.created_at).total_seconds() == 300


def test_sub_names_the_person_and_not_the_user_of_that_name(
    service: Service, browser: Browser, shop: RelyingParty
) -> None:
    """A user name is not an identity: the name `bob` has a new owner, whose `sub` is another."""
    service.add_user("bob", ed25519("bob"))
    service.store.revocation.remove_user("bob", service.clock())
    service.add_user("bob", ed25519("new"))
    new = service.store.users.id_of("bob")
    assert new
    assert new != "bob"
    page, _ = shop.begin(browser, claims=json.dumps({"id_token": {"sub": {"value": new}}}), login_hint="bob")
    (found,) = service.store.challenges.recent()
    assert found.hint == "bob"
    assert subject_stored(service, page) == new


def test_id_token_of_an_earlier_login_names_the_person(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    token = shop.redeem(shop.log_in(browser, "alice", alice)["code"]).json()["id_token"]
    service.clock.advance(1)
    page, _ = shop.begin(browser, id_token_hint=token, claims='{"id_token": {"sub": {"value": "alice"}}}')
    assert service.store.challenges.recent()[0].hint == subject_stored(service, page) == "alice"
    for other in ({"claims": '{"id_token": {"sub": {"value": "bob"}}}'}, {"login_hint": "bob"}):
        assert back(shop.ask(browser, id_token_hint=token, **other))["error_description"] == NO_USER


def test_client_with_pairwise_subjects_names_nobody_by_another_text(service: Service, browser: Browser) -> None:
    bank = RelyingParty(service, "bank", pairwise_sector="bank.example.org")
    for subject in ("alice", ""):
        came = back(bank.ask(browser, claims=json.dumps({"id_token": {"sub": {"value": subject}}})))
        assert came["error_description"] == NO_USER


def subject_stored(service: Service, page: str) -> str | None:
    request = FaceRequests(service.store.database, "openid").get(page.removeprefix("/login/"))
    assert request
    found: str | None = request.details["subject"]
    return found


def test_way_back_keeps_the_query_of_the_redirect_uri(service: Service, browser: Browser) -> None:
    uri = f"{BACK}?tenant=7"
    party = RelyingParty(service, options={"redirect_uris": [uri]})
    answer = party.ask(browser, redirect_uri=uri, prompt="none", state=None)
    told = {"error": "login_required", "error_description": SSH, "iss": ORIGIN}
    assert answer.headers["Location"] == f"{uri}&{urlencode(told)}"
    assert RelyingParty(service, "other").ask(browser, prompt="none").headers["Location"].startswith(f"{BACK}?error=")


def test_client_without_pkce_may_leave_it_out_but_not_do_half_of_it(service: Service, browser: Browser) -> None:
    old = RelyingParty(service, "old", options={"redirect_uris": [BACK], "pkce": False})
    for wishes, error in (
        ({"code_challenge": None, "code_challenge_method": None}, None),
        ({"code_challenge": None}, PKCE),
        ({"code_challenge_method": None}, PKCE),
        ({"code_challenge_method": "plain"}, PKCE),
        ({}, None),
    ):
        answer = old.ask(browser, **wishes)
        told = None if answer.headers["Location"].startswith("/login/") else back(answer)["error_description"]
        assert told == error, wishes


# --- the way back


def passed_page(service: Service, browser: Browser, shop: RelyingParty, fingerprint: str, **wishes: str) -> str:
    page, code = shop.begin(browser, **wishes)
    assert service.accept("alice", code=code, fingerprint=fingerprint, confirmed=True).status_code == 200
    return page


def refused_back(service: Service, browser: Browser, page: str) -> tuple[str, str]:
    came = back(browser.get(f"{page}/finish"))
    assert "code" not in came
    (event,) = service.audited("request.refused")
    told = came["error"], came["error_description"]
    assert (event["error"], event["reason"], event["client"]) == (*told, "shop")
    return told


@pytest.mark.usefixtures("alice")
def test_another_person_than_the_requested_one_is_refused(
    service: Service, browser: Browser, shop: RelyingParty
) -> None:
    """A user name is not an identity: the name `bob` has a new owner, whose `sub` is another."""
    service.add_user("bob", ed25519("bob"))
    service.store.revocation.remove_user("bob", service.clock())
    page, code = shop.begin(browser, claims='{"id_token": {"sub": {"value": "bob"}}}')
    (new,) = service.add_user("bob", ed25519("new"))
    assert service.accept("bob", code=code, fingerprint=new, confirmed=True).status_code == 200
    told = ("access_denied", "another person than the requested one has passed")
    assert refused_back(service, browser, page) == told


def test_requested_person_passes_by_sub(service: Service, browser: Browser, shop: RelyingParty, alice: str) -> None:
    page = passed_page(service, browser, shop, alice, claims='{"id_token": {"sub": {"value": "alice"}}}')
    assert back(browser.get(f"{page}/finish"))["code"]


def test_acr_that_the_login_does_not_prove_is_refused(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    page, code = shop.begin(browser, login_hint="alice", claims=acr(essential=True, value=VERIFIED))
    with service.store.database.write() as connection:  # as if the operator had allowed less meanwhile
        connection.execute(update(challenges).values(verify_required=False))
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    told = ("unmet_authentication_requirements", "the SSH login does not prove the requested acr")
    assert refused_back(service, browser, page) == told


def test_expired_login_says_so(service: Service, browser: Browser, shop: RelyingParty) -> None:
    page, _ = shop.begin(browser)
    service.clock.advance(300)
    assert refused_back(service, browser, page) == ("access_denied", "no SSH login passed in time")


def test_login_whose_time_for_a_code_is_over_is_finished(
    service: Service, browser: Browser, shop: RelyingParty, alice: str
) -> None:
    """The service stopped after it began the time, and before it took the result."""
    page = passed_page(service, browser, shop, alice)
    Returns(service.store.database).begin(page.removeprefix("/login/"), service.clock())
    assert heading(browser.get(f"{page}/finish")) == "Login already finished"


@pytest.mark.usefixtures("alice", "shop")
def test_person_is_the_requested_one_by_sub(service: Service) -> None:
    call = Call(Request({"type": "http", "app": service.app, "headers": [], "client": None}))
    for client, subject, user, is_requested in (
        ("shop", None, "alice", True),
        ("shop", "alice", "alice", True),
        ("shop", "bob", "alice", False),
        ("shop", "nobody", "nobody", False),
        ("shop", None, None, True),
        ("shop", "alice", None, False),
        ("gone", None, "alice", True),
        ("gone", "alice", "alice", False),
    ):
        details = Details(
            redirect_uri=BACK, response_mode="query", state=None, nonce=None, code_challenge=None, scope="openid",
            acr=(), essential=False, subject=subject,
        )  # fmt: skip
        passed = Challenge("0" * 32, user, client, Context(), START, START)
        assert _is_requested(call, client, details, passed) is is_requested, (client, subject, user)
