"""Tests which hints name a person, and what an ID token says."""

import base64
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.browser import ORIGIN
from service.relying_party import RelyingParty, give_rsa_key
from service.service import START, Service
from starlette.requests import Request

from sshaft.errors import ConfigurationError
from sshaft_identity.challenges.challenge import Approval, Challenge, Context, State
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support.assurance import AcrRequest
from sshaft_identity.face_support.id_tokens import (
    authentication_claims,
    sign_id_token,
    subject_of_hint,
    token_response,
    user_claims,
)
from sshaft_identity.signing.signing_keys import Algorithm
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import OAuthError

NOT_OURS = "the id_token_hint is not an ID token of this service"
NOT_THEIRS = "the id_token_hint is not an ID token of this client"
PASSED = Challenge(
    "0123456789abcdef0123456789abcdef", "alice", "shop", Context(), START, START + timedelta(minutes=5),
    state=State.CONSUMED, approval=Approval(START + timedelta(seconds=7.9), "SHA256:x", "ssh-ed25519", None),
)  # fmt: skip


@pytest.fixture
def shop(service: Service) -> Client:
    """A registered client. Alice is a user."""
    give_rsa_key(service)
    service.add_user("alice", ed25519("alice"))
    RelyingParty(service)
    client = service.store.clients.get("shop")
    assert client
    return client


def call_of(service: Service) -> Call:
    return Call(Request({"type": "http", "app": service.app, "headers": [], "client": None}))


@pytest.mark.parametrize(
    ("claims", "typ", "algorithm", "expected"),
    [
        ({}, "JWT", Algorithm.RS256, "alice"),
        ({"exp": 1}, "JWT", Algorithm.RS256, "alice"),
        ({"iss": "https://id.example.com"}, "JWT", Algorithm.RS256, NOT_THEIRS),
        ({"aud": "other"}, "JWT", Algorithm.RS256, NOT_THEIRS),
        ({"aud": ["shop"]}, "JWT", Algorithm.RS256, NOT_THEIRS),
        ({"aud": None}, "JWT", Algorithm.RS256, NOT_THEIRS),
        ({"sub": None}, "JWT", Algorithm.RS256, NOT_THEIRS),
        ({"sub": 7}, "JWT", Algorithm.RS256, NOT_THEIRS),
        ({}, "notification+jwt", Algorithm.RS256, NOT_THEIRS),
        ({}, "JWT", Algorithm.ES256, NOT_OURS),
    ],
)
def test_hint_is_an_id_token_of_this_service_for_this_client(
    service: Service, shop: Client, claims: dict[str, Any], typ: str, algorithm: Algorithm, expected: str
) -> None:
    usual = {"iss": ORIGIN, "aud": "shop", "sub": "alice"}
    text = service.store.signing_keys.sign(usual | claims, service.clock(), typ, algorithm)
    assert text
    if expected == "alice":
        assert subject_of_hint(call_of(service), shop, text) == "alice"
        return
    with pytest.raises(OAuthError) as refused:
        subject_of_hint(call_of(service), shop, text)
    assert (refused.value.error, refused.value.description) == ("invalid_request", expected)


def test_id_token_says_who_has_proven_what_to_whom(service: Service, shop: Client) -> None:
    service.clock.advance(30)
    told = token_response(call_of(service), shop, PASSED, "openid profile", AcrRequest(), {"nonce": "n"})
    token, access_token = told.pop("id_token"), told.pop("access_token")
    assert told == {"token_type": "Bearer", "expires_in": 300, "scope": "openid profile"}
    now = int(START.timestamp()) + 30
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    assert RelyingParty(service, "reader").claims(token) == {
        "iss": ORIGIN, "iat": now, "exp": now + 300, "aud": "shop", "sub": "alice", "preferred_username": "alice",
        "auth_time": now - 23, "amr": ["swk", "pop"], "acr": "urn:sshaft:acr:code", "nonce": "n",
        "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
    }  # fmt: skip
    (event,) = service.events("login.completed")
    assert (event["challenge"], event["user"], event["client"]) == (PASSED.id, "alice", "shop")
    found = service.store.access_tokens.person_of(access_token, service.clock())
    assert found
    assert (found[0].client_id, found[1]) == ("shop", "alice")
    service.store.access_tokens.revoke_login("another")
    assert service.store.access_tokens.person_of(access_token, service.clock())
    service.store.access_tokens.revoke_login(PASSED.id)
    assert service.store.access_tokens.person_of(access_token, service.clock()) is None


def test_id_token_has_no_acr_that_is_not_proven(service: Service, shop: Client) -> None:
    told = token_response(call_of(service), shop, PASSED, "openid", AcrRequest(("phr",), essential=True))
    claims = RelyingParty(service, "reader").claims(told["id_token"])
    assert "acr" not in claims
    assert "preferred_username" not in claims


def test_no_token_is_made_for_nobody(service: Service, shop: Client) -> None:
    with pytest.raises(ValueError, match=r"^the login has no user$"):
        token_response(call_of(service), shop, replace(PASSED, user=None), "openid", AcrRequest())
    with pytest.raises(OAuthError) as refused:
        token_response(call_of(service), shop, replace(PASSED, user="bob"), "openid", AcrRequest())
    assert (refused.value.error, refused.value.description) == ("invalid_grant", "the person is no longer a user")
    with pytest.raises(ValueError, match=r"^the challenge has not passed$"):
        authentication_claims(replace(PASSED, approval=None))


def test_client_with_pairwise_subjects_gets_no_user_name(service: Service, shop: Client) -> None:
    call, apart = call_of(service), replace(shop, pairwise_sector="a.example.org")
    assert user_claims(call, shop, "alice", "openid") == {"sub": "alice"}
    assert user_claims(call, shop, "alice", "profile") == {"sub": "alice", "preferred_username": "alice"}
    assert user_claims(call, shop, "bob", "profile") is None
    assert user_claims(call, apart, "bob", "profile") is None
    claims = user_claims(call, apart, "alice", "openid profile")
    assert claims is not None
    assert list(claims) == ["sub"]
    assert claims["sub"] != "alice"


def test_missing_key_is_named_with_the_command_that_makes_it(service: Service) -> None:
    assert service.app
    with pytest.raises(ConfigurationError) as missing:
        sign_id_token(service.app.state.sshaft, service.clock(), {})
    assert str(missing.value) == "there is no RS256 signing key: run `sshaft identity init`"
