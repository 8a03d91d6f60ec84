"""Tests answers of a provider that must let nobody in, must not last, and must not lead to another address."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.forged_tokens import FORGERIES
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from hypothesis import given, settings
from hypothesis import strategies as st
from service.service import Clock

from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.http_client import HttpClient
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft_oidc.device_grant import DeviceGrant
from sshaft_oidc.identity import Identification, Identity
from sshaft_oidc.provider import Provider
from sshaft_oidc.remote_keys import MAX_ANSWER, OpenIdError

METADATA, DEVICE, TOKEN, JWKS = "/.well-known/openid-configuration", "/device_authorization", "/token", "/jwks"
PATHS = {
    "id_token": [METADATA, DEVICE, TOKEN, JWKS],
    "introspection": ["/introspect"],
    "userinfo": ["/userinfo"],
}
"""The requests of a login, by what proves who has approved."""
REQUESTS = [(source, path) for source, paths in PATHS.items() for path in paths]


@pytest.fixture
def provider(clock: Clock) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(clock, "") as provider:
        provider.is_approved = True
        provider.bend_introspection = {"sub": "subject-1", "scope": "openid"}
        provider.bend_userinfo = {"sub": "subject-1"}
        yield provider


def log_in(fake: OpenIdProvider, http: HttpClient, source: str = "id_token", seconds: float = 10) -> Identity | None:
    """Returns the person of one login. None: the provider has not said yet whether somebody has approved."""
    deadline = Deadline.after(seconds)
    credentials = ClientCredentials(CLIENT_ID, "client_secret_basic", CLIENT_SECRET)
    provider = Provider(fake.issuer, credentials, http, fake.clock)
    grant = DeviceGrant(provider, ("openid",))
    tokens = grant.poll(grant.begin(deadline), deadline)
    if tokens is None:
        return None
    identification = Identification(provider, ("openid",), (), ("sub",))
    if source == "introspection":
        return identification.from_introspection(tokens, deadline)
    if source == "userinfo":
        return identification.from_userinfo(tokens, deadline)
    return identification.from_id_token(tokens, None, deadline)


@pytest.mark.parametrize("source", PATHS)
def test_good_provider_identifies_the_person(provider: OpenIdProvider, http: HttpClient, source: str) -> None:
    """Shows that the other tests fail for the reason that they name."""
    found = log_in(provider, http, source)
    assert found is not None
    assert found.subject == "subject-1"


BODIES = {
    "nothing": b"",
    "no JSON": b"<html>",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "an empty object": b"{}",
    "no UTF-8": b'{"issuer": "\xff"}',
    "nested too deep": b'{"x": ' + b"[" * 100_000,
    "a huge answer": b'{"x": "' + b"x" * MAX_ANSWER + b'"}',
    "a number without end": b'{"x": ' + b"9" * 100_000 + b"}",
    "a member that is there twice": b'{"active": false, "active": true, "sub": "a", "sub": "subject-1"}',
}


@pytest.mark.parametrize(("source", "path"), REQUESTS)
@pytest.mark.parametrize("body", BODIES)
def test_answer_that_is_no_document_lets_nobody_in(
    provider: OpenIdProvider, http: HttpClient, source: str, path: str, body: str
) -> None:
    provider.raw[path] = BODIES[body]
    with pytest.raises((OpenIdError, RemoteServiceError)):
        log_in(provider, http, source)


@pytest.mark.parametrize(("source", "path"), REQUESTS)
@pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 400, 401, 404, 418])
def test_answer_with_another_status_lets_nobody_in(
    provider: OpenIdProvider, http: HttpClient, source: str, path: str, status: int
) -> None:
    """The body is the right one, so the status alone decides. A redirect is not followed: it could lead anywhere."""
    provider.status[path] = status
    with pytest.raises((OpenIdError, RemoteServiceError)):
        log_in(provider, http, source)
    assert "/elsewhere" not in provider.calls


@pytest.mark.parametrize(("source", "path"), REQUESTS)
@pytest.mark.parametrize("status", [500, 502, 503])
def test_provider_that_fails_lets_nobody_in(
    provider: OpenIdProvider, http: HttpClient, source: str, path: str, status: int
) -> None:
    """At the token endpoint it is asked again after the interval (RFC 8628 §3.5)."""
    provider.status[path] = status
    if path == TOKEN:
        assert log_in(provider, http, source) is None
        return
    with pytest.raises(RemoteServiceError):
        log_in(provider, http, source)


@pytest.mark.parametrize(("source", "path"), REQUESTS)
def test_answer_that_never_ends_is_given_up_at_the_deadline(
    provider: OpenIdProvider, http: HttpClient, source: str, path: str
) -> None:
    provider.dripping.add(path)
    if path == TOKEN:
        assert log_in(provider, http, source, 0.3) is None
        return
    with pytest.raises(RemoteServiceError):
        log_in(provider, http, source, 0.3)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_token_without_the_providers_signature_lets_nobody_in(
    provider: OpenIdProvider, http: HttpClient, forgery: str
) -> None:
    provider.make_token = FORGERIES[forgery](provider)
    with pytest.raises(OpenIdError):
        log_in(provider, http)


@pytest.mark.parametrize(
    "claims",
    [{name: value} for name in ("exp", "iat") for value in (float("nan"), float("inf"), -1, -1e300, 1e300, "0", True)],
    ids=str,
)
def test_token_with_a_time_that_is_none_lets_nobody_in(
    provider: OpenIdProvider, http: HttpClient, claims: dict[str, Any]
) -> None:
    provider.bend_claims = claims
    with pytest.raises(OpenIdError, match="id_token"):
        log_in(provider, http)


@pytest.mark.parametrize("issuer", ["https://other.example", "", None, ["ISSUER"], "ISSUER/"])
def test_metadata_of_another_issuer_lets_nobody_in(provider: OpenIdProvider, http: HttpClient, issuer: Any) -> None:
    provider.bend_metadata = {"issuer": issuer and str(issuer).replace("ISSUER", provider.issuer)}
    with pytest.raises(OpenIdError, match="metadata"):
        log_in(provider, http)


ENDPOINTS = ["device_authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint",
             "introspection_endpoint"]  # fmt: skip


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "address",
    ["http://10.0.0.1/x", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "ftp://a.example/", "//x",
     "https://user:word@a.example/", "https://a.example/#f", "https://a.example/\r\nX: y", "", 7],
)  # fmt: skip
def test_metadata_cannot_name_an_address_without_tls(
    provider: OpenIdProvider, http: HttpClient, endpoint: str, address: Any
) -> None:
    provider.bend_metadata = {endpoint: address}
    source = {"userinfo_endpoint": "userinfo", "introspection_endpoint": "introspection"}.get(endpoint, "id_token")
    with pytest.raises(OpenIdError, match=r"metadata|no userinfo_endpoint|no introspection_endpoint"):
        log_in(provider, http, source)


ANSWERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["subject-1", "openid"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MEMBERS = ["active", "exp", "iss", "client_id", "sub", "username", "scope", "value"]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "path"), [each for each in REQUESTS if each[0] != "id_token"])
def test_answer_of_any_form_is_an_identity_or_an_error(
    provider: OpenIdProvider, http: HttpClient, source: str, path: str
) -> None:
    @settings(max_examples=40, deadline=None)
    @given(answer=st.dictionaries(st.sampled_from(MEMBERS), ANSWERS) | ANSWERS)
    def ask(answer: Any) -> None:
        provider.raw[path] = json.dumps(answer).encode()
        try:
            found = log_in(provider, http, source)
        except (OpenIdError, RemoteServiceError):
            return
        assert found is not None
        assert answer["sub"] == found.subject
        assert found.subject.isprintable()
        assert source == "userinfo" or answer["active"] is True

    ask()
