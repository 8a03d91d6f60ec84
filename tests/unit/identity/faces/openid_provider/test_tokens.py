"""Tests each decision of the token and userinfo endpoints."""

import base64
import hashlib

import pytest
from service.browser import Browser
from service.relying_party import BACK, RelyingParty
from service.service import Service
from sqlalchemy import Executable, delete, update

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.database.tables import challenges, face_requests
from sshaft_identity.faces.openid_provider.tokens import _verifier_matches

NO_CODE = "there is no valid code of this client"
USED = "the code was used or replaced: its tokens are revoked"
URI = "redirect_uri differs from the request"
VERIFIER = "code_verifier does not match the request"
NOBODY = "the access token belongs to no user"
NOT_FROM_THERE = "this client may not call from there"


@pytest.fixture
def code(service: Service, shop: RelyingParty, alice: str) -> str:
    """The code of a login of alice at the shop."""
    return shop.log_in(Browser(service), "alice", alice)["code"]


def refusal(service: Service, shop: RelyingParty, code: str | None, **more: str | None) -> str | None:
    """Returns why the code is refused, or None if it is redeemed."""
    answer = shop.redeem(**({"code": code} | more))  # type: ignore[arg-type]
    if answer.status_code == 200:
        return None
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert service.audited("request.refused")[-1]["reason"] == answer.json()["error_description"]
    return str(answer.json()["error_description"])


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, None),
        ({"code": None}, NO_CODE),
        ({"code": "x"}, NO_CODE),
        ({"redirect_uri": None}, URI),
        ({"redirect_uri": f"{BACK}/"}, URI),
        ({"code_verifier": None}, VERIFIER),
        ({"code_verifier": "x" * 43}, VERIFIER),
    ],
)
def test_code_is_redeemed_with_the_values_of_its_request(
    service: Service, shop: RelyingParty, code: str, form: dict[str, str | None], expected: str | None
) -> None:
    assert refusal(service, shop, **({"code": code} | form)) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(59, None), (60, NO_CODE)])
def test_code_is_valid_for_a_minute(
    service: Service, shop: RelyingParty, code: str, seconds: int, expected: str | None
) -> None:
    service.clock.advance(seconds)
    assert refusal(service, shop, code) == expected


@pytest.mark.parametrize(
    "spoil",
    [
        delete(challenges),
        update(challenges).values(user_name=None),
        update(challenges).values(state="accepted"),
        update(challenges).values(state="cancelled"),
        update(face_requests).values(handle_until=None),
    ],
)
def test_code_of_a_login_that_has_not_ended_well_is_refused(
    service: Service, shop: RelyingParty, code: str, spoil: Executable
) -> None:
    with service.store.database.write() as connection:
        connection.execute(spoil)
    assert refusal(service, shop, code) == NO_CODE


def test_code_of_another_client_or_of_a_client_without_the_face_is_refused(
    service: Service, shop: RelyingParty, code: str
) -> None:
    thief = RelyingParty(service, "thief", verifier=shop.verifier)
    assert refusal(service, thief, code) == NO_CODE
    service.store.clients.set_face("shop", "openid", None, service.clock())
    assert refusal(service, shop, code) == NO_CODE
    service.store.clients.set_face("shop", "openid", shop.options, service.clock())
    assert refusal(service, shop, code) is None, "neither refusal has used it up"


def test_second_use_revokes_the_tokens_of_this_login_only(
    service: Service, shop: RelyingParty, alice: str, code: str
) -> None:
    other = shop.log_in(Browser(service), "alice", alice)["code"]
    tokens = [shop.redeem(each).json()["access_token"] for each in (code, other)]
    assert refusal(service, shop, code) == USED
    answers = [service.call("GET", "/oauth2/userinfo", headers={"Authorization": f"Bearer {each}"}) for each in tokens]
    assert [each.status_code for each in answers] == [401, 200]


def test_nonce_is_in_the_id_token_only_if_the_request_has_one(service: Service, shop: RelyingParty, alice: str) -> None:
    for nonce in ("n", None):
        came = shop.log_in(Browser(service), "alice", alice, nonce=nonce)
        claims = shop.claims(shop.redeem(came["code"]).json()["id_token"])
        assert ("nonce" in claims, claims.get("nonce")) == (nonce is not None, nonce)


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("verifier", "challenge", "matches"),
    [
        (None, None, True),
        (None, s256("x" * 43), False),
        ("x" * 43, None, False),
        ("x" * 43, s256("x" * 43), True),
        ("x" * 128, s256("x" * 128), True),
        ("AZaz09._~-" * 5, s256("AZaz09._~-" * 5), True),
        ("x" * 42, s256("x" * 42), False),
        ("x" * 129, s256("x" * 129), False),
        ("x" * 42 + "+", s256("x" * 42 + "+"), False),
        ("x" * 43, s256("y" * 43), False),
        ("x" * 43, "x" * 43, False),
    ],
)
def test_verifier_has_its_form_and_its_digest(verifier: str | None, challenge: str | None, *, matches: bool) -> None:
    assert _verifier_matches(verifier, challenge) is matches


@pytest.mark.parametrize("kind", ["Bearer", "bEARER", "Basic", ""])
def test_userinfo_needs_a_bearer_token_of_a_user(service: Service, shop: RelyingParty, code: str, kind: str) -> None:
    token = shop.redeem(code).json()["access_token"]
    answer = service.call("GET", "/oauth2/userinfo", headers={"Authorization": f"{kind} {token}".strip()})
    if kind.lower() == "bearer":
        assert answer.json() == {"sub": "alice", "preferred_username": "alice"}
        return
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    (event,) = service.audited("request.refused")
    assert (event["face"], event["error"], event["reason"]) == ("openid", "invalid_token", NOBODY)
    assert "client" not in event


def test_userinfo_without_a_token_is_refused(service: Service) -> None:
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}):
        answer = service.call("GET", "/oauth2/userinfo", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


def test_userinfo_refuses_another_address_by_the_name_of_the_client(service: Service, alice: str) -> None:
    assert alice
    client = Client("far", frozenset([Scope.LIST]), networks=("192.0.2.0/24",))
    service.store.clients.add(client, service.clock())
    token = service.store.access_tokens.issue(client, ["openid"], service.clock(), user="alice")
    answer = service.call("GET", "/oauth2/userinfo", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    (event,) = service.audited("request.refused")
    assert (event["client"], event["reason"]) == ("far", NOT_FROM_THERE)
