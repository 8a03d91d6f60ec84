"""Tests how clients authenticate themselves: every way, every refusal with its words, and both sides of each time."""

import base64
import json
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from service.service import Service
from starlette.requests import Request
from starlette.responses import Response

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.service.purge import batches
from sshaft_identity.store import Store
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import (
    Credentials,
    OAuthError,
    answers_errors,
    credentials_of,
    fields_of,
    issue_token,
)

GRANT = {"grant_type": "client_credentials"}
FORM = "application/x-www-form-urlencoded"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TWO_WAYS = ("invalid_request", "the client authenticated itself in two ways")
NOT_BASIC = ("invalid_client", "the Authorization header is not Basic")
MISSING = ("invalid_client", "client_id and client_secret are missing")
UNKNOWN = ("invalid_client", "no such client, or not its secret")
PROVES_NOTHING = ("invalid_client", "the client assertion proves nothing")
CAME_BEFORE = ("invalid_client", "the client assertion came before")
NOT_FROM_THERE = ("invalid_client", "this client may not call from there")


def basic(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return f"Basic {base64.b64encode(data).decode()}"


# --- forms


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (b"", {}),
        (b"a=1&b=%C3%A4+x", {"a": "1", "b": "ä x"}),
        (b"a=&b=1&c", {"b": "1"}),
        (urlencode({f"x{number}": "1" for number in range(32)}).encode(), {f"x{n}": "1" for n in range(32)}),
        (urlencode({f"x{number}": "1" for number in range(33)}).encode(), "the parameters are no form"),
        (b"a=\xff", "the parameters are no form"),
        (b"a=%ff", "the parameters are no form"),
        (b"a=1&a=1", "a parameter came twice"),
    ],
)
def test_form_has_at_most_32_fields_and_each_once(text: bytes, fields: dict[str, str] | str) -> None:
    if isinstance(fields, dict):
        assert fields_of(text) == fields
        return
    with pytest.raises(OAuthError) as refused:
        fields_of(text)
    assert (refused.value.error, refused.value.description, refused.value.status) == ("invalid_request", fields, 400)


@pytest.mark.parametrize("text", [b"a=\xff", b"a=%ff"])
def test_form_of_another_encoding_is_read_where_the_caller_allows_it(text: bytes) -> None:
    """Case latin1_password."""
    assert fields_of(text, errors="replace") == {"a": "\ufffd"}


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [("invalid_client", None, 401), ("invalid_grant", None, 400), ("invalid_client", 403, 403)],
)
def test_refusal_has_the_status_of_its_error(error: str, status: int | None, expected: int) -> None:
    refused = OAuthError(error, "why", status=status)
    assert (refused.status, str(refused)) == (expected, "why")


# --- client_secret_basic and client_secret_post


def read_credentials(authorization: str | None, form: dict[str, str]) -> tuple[str, str]:
    """Returns the id and the secret, or else the error and its description."""
    try:
        given = credentials_of(authorization, form)
    except OAuthError as refused:
        return refused.error, refused.description
    return given.client_id, given.client_secret


@pytest.mark.parametrize(
    ("authorization", "form", "expected"),
    [
        (None, {"client_id": "app", "client_secret": "s"}, ("app", "s")),
        (None, {"client_id": "app"}, MISSING),
        (None, {"client_secret": "s"}, MISSING),
        (None, {"client_id": "", "client_secret": "s"}, MISSING),
        (None, {"client_id": "app", "client_secret": ""}, MISSING),
        (None, {}, MISSING),
        (basic("app:s"), {}, ("app", "s")),
        (basic("app:s").replace("Basic ", "bASIC   ") + " ", {}, ("app", "s")),
        (basic("app:s:t"), {}, ("app", "s:t")),
        (basic("a%3Ab:c+%C3%A4"), {}, ("a:b", "c ä")),
        (basic("app:"), {}, ("app", "")),
        (basic("app:s"), {"client_id": "app"}, ("app", "s")),
        (basic("a%3Ab:s"), {"client_id": "a:b"}, ("a:b", "s")),
        (basic("app:s"), {"client_id": "other"}, TWO_WAYS),
        (basic("a%3Ab:s"), {"client_id": "a%3Ab"}, TWO_WAYS),
        (basic("app:s"), {"client_secret": "s"}, TWO_WAYS),
        (basic("app:s"), {"client_id": "app", "client_secret": "s"}, TWO_WAYS),
        (basic("app"), {}, NOT_BASIC),
        (basic("app:s").replace("Basic", "Bearer"), {}, NOT_BASIC),
        (basic("app:s").replace("Y", "!Y", 1), {}, NOT_BASIC),
        (basic("app:s") + "=", {}, NOT_BASIC),
        (basic(b"\xff:s"), {}, NOT_BASIC),
        ("Basic", {}, NOT_BASIC),
        ("", {}, NOT_BASIC),
    ],
)
def test_id_and_secret_come_in_one_of_two_ways(
    authorization: str | None, form: dict[str, str], expected: tuple[str, str]
) -> None:
    assert read_credentials(authorization, form) == expected


def test_secret_is_not_part_of_a_printed_credential() -> None:
    assert "hidden" not in repr(Credentials("app", "hidden"))


@pytest.mark.parametrize(
    ("sent", "status", "error", "challenge"),
    [
        ({"headers": {"Authorization": basic("test:wrong")}}, 401, UNKNOWN, 'Basic realm="sshaft"'),
        ({"data": GRANT | {"client_id": "test", "client_secret": "wrong"}}, 401, UNKNOWN, None),
        ({"data": GRANT}, 401, MISSING, None),
        ({"headers": {"Content-Type": "text/plain"}}, 400, ("invalid_request", f"the body must be {FORM}"), None),
        ({"headers": {"Authorization": basic("a:b")}, "data": {"client_id": "c"}}, 400, TWO_WAYS, None),
    ],
)
def test_refusal_says_what_is_wrong_and_is_recorded(
    service: Service, sent: dict[str, Any], status: int, error: tuple[str, str], challenge: str | None
) -> None:
    answer = service.call("POST", "/oauth2/token", **({"data": GRANT} | sent))
    told = answer.json()
    assert (answer.status_code, told) == (status, {"error": error[0], "error_description": error[1]})
    assert (answer.headers["Pragma"], answer.headers.get("WWW-Authenticate")) == ("no-cache", challenge)
    (event,) = service.audited("request.refused")
    assert (event["face"], event["error"], event["reason"], event.get("client")) == ("oauth", *error, None)


def call_of(service: Service) -> Call:
    return Call(Request({"type": "http", "app": service.app, "headers": [], "client": None}))


@pytest.mark.parametrize(
    ("error", "recorded"), [("authorization_pending", 0), ("slow_down", 0), ("access_denied", 1), ("invalid_grant", 1)]
)
def test_client_that_is_told_to_wait_is_not_recorded(service: Service, error: str, recorded: int) -> None:
    def refuse(_: Call) -> Response:
        raise OAuthError(error, "why")

    for face in ("oauth", "ciba"):
        answer = (answers_errors(refuse) if face == "oauth" else answers_errors(refuse, face))(call_of(service))
        assert (answer.status_code, json.loads(bytes(answer.body))["error"]) == (400, error)
        events = [each for each in service.audited("request.refused") if each["face"] == face]
        assert [each["reason"] for each in events] == ["why"] * recorded


def test_content_type_may_have_parameters_and_any_case(service: Service) -> None:
    headers = {"Content-Type": "Application/X-WWW-Form-Urlencoded ; charset=utf-8", "Authorization": "x"}
    answer = service.call("POST", "/oauth2/token", data=urlencode(GRANT), headers=headers)
    assert answer.json()["error_description"] == NOT_BASIC[1]


def test_client_at_another_address_is_refused_by_its_name(service: Service) -> None:
    secret = service.store.clients.add(Client("far", frozenset(), networks=("192.0.2.0/24",)), service.clock())
    answer = service.call("POST", "/oauth2/token", data=GRANT, auth=("far", secret))
    assert (answer.json()["error"], answer.json()["error_description"]) == NOT_FROM_THERE
    (event,) = service.audited("request.refused")
    assert (event["client"], event["reason"]) == ("far", NOT_FROM_THERE[1])


def test_client_that_is_removed_meanwhile_gets_no_token(service: Service) -> None:
    removed = Client("removed", frozenset([Scope.LIST]))
    with pytest.raises(OAuthError) as refused:
        issue_token(call_of(service), removed, removed.scopes)
    assert (refused.value.error, refused.value.description) == UNKNOWN


# --- private_key_jwt

KEY = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)


def add_app(store: Store, service: Service, key: Any = KEY, name: str = "app", **more: Any) -> None:
    keys = {"keys": [key.as_dict(private=False)]}
    store.clients.add(Client(name, frozenset([Scope.LIST]), jwks=keys, **more), service.clock())


def claims(service: Service, **more: Any) -> dict[str, Any]:
    ends = int(service.clock().timestamp()) + 60
    usual = {"iss": "app", "sub": "app", "aud": "https://id.example.org", "exp": ends, "jti": "1"}
    return {name: value for name, value in (usual | more).items() if value is not None}


def signed(service: Service, key: Any = KEY, algorithm: str = "ES256", **more: Any) -> dict[str, str]:
    text = jwt.encode({"alg": algorithm}, claims(service, **more), key, algorithms=[algorithm])
    return {"client_assertion_type": JWT_BEARER, "client_assertion": text}


def error_of(answer: requests.Response) -> tuple[str, str] | None:
    """Returns the error and its description; None for a token."""
    if answer.status_code == 200:
        return None
    return answer.json()["error"], answer.json()["error_description"]


def send(service: Service, form: dict[str, str], **more: Any) -> tuple[str, str] | None:
    return error_of(service.call("POST", "/oauth2/token", data=GRANT | form, **more))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSA, "RS256"),
        (RSA, "PS256"),
        (KEY, "ES256"),
        (ECKey.generate_key("P-384"), "ES384"),
        (OKPKey.generate_key("Ed25519"), "Ed25519"),
        (OKPKey.generate_key("Ed25519"), "EdDSA"),
    ],
)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_assertion_of_each_algorithm_authenticates(service: Service, key: Any, algorithm: str) -> None:
    add_app(service.store, service, key)
    assert send(service, signed(service, key, algorithm)) is None


def test_assertion_of_another_algorithm_proves_nothing(service: Service) -> None:
    add_app(service.store, service, RSA)
    assert send(service, signed(service, RSA, "RS512")) == PROVES_NOTHING


@pytest.mark.parametrize(
    ("bent", "expected"),
    [
        ({}, None),
        ({"aud": "https://id.example.org/oauth2/token"}, None),
        ({"aud": "https://id.example.org/oauth2/bc-authorize"}, None),
        ({"aud": ["https://other.example.org", "https://id.example.org"]}, None),
        ({"aud": ["https://other.example.org"]}, PROVES_NOTHING),
        ({"aud": "https://id.example.org/"}, PROVES_NOTHING),
        ({"aud": []}, PROVES_NOTHING),
        ({"iss": "nobody"}, PROVES_NOTHING),
        ({"iss": "test"}, PROVES_NOTHING),  # a client with a secret
        ({"iss": "neighbour"}, PROVES_NOTHING),  # a client with another key
        ({"sub": "neighbour"}, PROVES_NOTHING),
        ({"sub": None}, PROVES_NOTHING),
        ({"jti": None}, PROVES_NOTHING),
        ({"exp": None}, PROVES_NOTHING),
        ({"exp": "1"}, PROVES_NOTHING),
        ({"extra": "x"}, None),
    ],
)
def test_assertion_is_by_the_client_about_the_client_for_this_service(
    service: Service, bent: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    add_app(service.store, service)
    add_app(service.store, service, ECKey.generate_key("P-256"), "neighbour")
    assert send(service, signed(service, **bent)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-60, PROVES_NOTHING), (-59, None), (-59.5, None), (3660, None), (3661, PROVES_NOTHING), (1e300, PROVES_NOTHING)],
)
def test_assertion_ends_within_an_hour_and_a_minute(
    service: Service, seconds: float, expected: tuple[str, str] | None
) -> None:
    add_app(service.store, service)
    assert send(service, signed(service, exp=service.clock().timestamp() + seconds)) == expected


@pytest.mark.parametrize("seconds", [-59, 60, 3660])
def test_assertion_is_known_as_long_as_it_is_valid(service: Service, seconds: int) -> None:
    """The clean-up removes the id of an assertion only when the assertion has ended."""
    add_app(service.store, service)
    form = signed(service, exp=int(service.clock().timestamp()) + seconds)
    assert send(service, form) is None
    service.clock.advance(seconds + 59)
    list(batches(service.store.database, service.clock()))
    assert send(service, form) == CAME_BEFORE
    service.clock.advance(1)
    assert send(service, form) == PROVES_NOTHING


def test_id_of_an_assertion_belongs_to_its_client_and_a_forged_one_takes_no_id(service: Service) -> None:
    add_app(service.store, service)
    add_app(service.store, service, RSA, "neighbour")
    own = signed(service)
    for forged in (signed(service, RSA, "RS256"), signed(service, aud="x"), signed(service, sub="neighbour")):
        assert send(service, forged) == PROVES_NOTHING
    assert send(service, own, auth=("app", "x")) == TWO_WAYS
    assert send(service, own | {"client_id": "neighbour"}) == PROVES_NOTHING
    assert send(service, signed(service, RSA, "RS256", iss="neighbour", sub="neighbour")) is None
    assert send(service, own | {"client_id": "app"}) is None
    assert send(service, own) == CAME_BEFORE
    assert send(service, signed(service, jti="2")) is None


def test_assertion_needs_both_fields_and_nothing_else(service: Service) -> None:
    add_app(service.store, service)
    form, wrong_type = signed(service), ("invalid_request", f"client_assertion_type must be {JWT_BEARER}")
    assert send(service, {"client_assertion": form["client_assertion"]}) == wrong_type
    assert send(service, form | {"client_assertion_type": f"{JWT_BEARER}x"}) == wrong_type
    assert send(service, {"client_assertion_type": JWT_BEARER}) == PROVES_NOTHING
    assert send(service, form | {"client_assertion": "x.y.z"}) == PROVES_NOTHING
    assert send(service, form | {"client_secret": "s"}) == TWO_WAYS
    assert send(service, form, headers={"Authorization": basic("app:")}) == TWO_WAYS
    unsigned = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
    body = form["client_assertion"].split(".")[1]
    assert send(service, form | {"client_assertion": f"{unsigned}.{body}."}) == PROVES_NOTHING


def test_client_with_a_key_has_no_secret(service: Service) -> None:
    jwks = {"keys": [KEY.as_dict(private=False)]}
    secret = service.store.clients.add(Client("app", frozenset([Scope.LIST]), jwks=jwks), service.clock())
    assert send(service, {}, auth=("app", secret)) == UNKNOWN


def test_client_with_a_key_may_call_from_its_networks_only(service: Service) -> None:
    add_app(service.store, service, networks=("192.0.2.0/24",))
    assert send(service, signed(service)) == NOT_FROM_THERE


def test_token_of_a_client_is_described_exactly(service: Service) -> None:
    secret = service.store.clients.add(Client("two", frozenset([Scope.LIST, Scope.ACCEPT])), service.clock())
    told = service.call("POST", "/oauth2/token", data=GRANT, auth=("two", secret)).json()
    assert told.pop("access_token")
    assert told == {"token_type": "Bearer", "expires_in": 300, "scope": "mfa:accept mfa:list"}
    (event,) = service.events("token.issued")
    assert (event["client"], event["scope"]) == ("two", "mfa:accept mfa:list")
