"""Tests when a provider says that an access token is not good any more, and when its answer proves nothing."""

from collections.abc import Iterator

import pytest
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from service.service import Clock

from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.http_client import HttpClient
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft_oidc.provider import Provider
from sshaft_oidc.remote_keys import OpenIdError
from sshaft_oidc.token_status import QUESTIONS, Question, by_introspection, by_userinfo


@pytest.fixture
def fake(clock: Clock) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(clock, "http://localhost/back", bend_introspection={}, bend_userinfo={"sub": "x"}) as fake:
        yield fake


@pytest.fixture
def provider(fake: OpenIdProvider, http: HttpClient, clock: Clock) -> Provider:
    return Provider(fake.issuer, ClientCredentials(CLIENT_ID, "client_secret_basic", CLIENT_SECRET), http, clock)


@pytest.mark.parametrize("question", QUESTIONS)
def test_provider_knows_its_own_tokens_and_no_others(provider: Provider, question: Question) -> None:
    assert question(provider, "access", Deadline.after(5))
    assert not question(provider, "revoked", Deadline.after(5))


@pytest.mark.parametrize(
    "header", ['Bearer realm="x", error="invalid_token"', "Bearer error=invalid_token", 'DPoP error = "invalid_token"']
)
def test_userinfo_says_in_its_header_that_a_token_is_not_good(
    fake: OpenIdProvider, provider: Provider, header: str
) -> None:
    fake.status["/userinfo"], fake.raw["/userinfo"] = 401, b""
    fake.headers["/userinfo"] = {"WWW-Authenticate": header}
    assert not by_userinfo(provider, "access", Deadline.after(5))


@pytest.mark.parametrize(
    ("status", "header", "body"),
    [
        (401, "Bearer", b""),
        (401, 'Bearer error="invalid_request"', b'{"error": "invalid_request"}'),
        (401, 'Bearer error="invalid_token_format"', b"{}"),
        (401, 'Bearer error_description="invalid_token"', b"[]"),
        (400, 'Bearer error="invalid_token"', b'{"error": "invalid_token"}'),
        (403, 'Bearer error="invalid_token"', b'{"error": "invalid_token"}'),
        (200, 'Bearer error="invalid_token"', b"no JSON"),
    ],
)
def test_other_answer_of_userinfo_proves_nothing(
    fake: OpenIdProvider, provider: Provider, status: int, header: str, body: bytes
) -> None:
    fake.status["/userinfo"], fake.raw["/userinfo"] = status, body
    fake.headers["/userinfo"] = {"WWW-Authenticate": header}
    with pytest.raises(OpenIdError):
        by_userinfo(provider, "access", Deadline.after(5))


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b'{"active": "false"}'), (200, b'{"active": 0}'), (200, b"{}"), (400, b'{"active": false}'), (401, b"{}"),
     (200, b'{"active": true, "active": false}')],
)  # fmt: skip
def test_other_answer_of_introspection_proves_nothing(
    fake: OpenIdProvider, provider: Provider, status: int, body: bytes
) -> None:
    fake.status["/introspect"], fake.raw["/introspect"] = status, body
    with pytest.raises(OpenIdError):
        by_introspection(provider, "access", Deadline.after(5))


@pytest.mark.parametrize("question", QUESTIONS)
def test_provider_without_the_endpoint_or_without_an_answer_proves_nothing(
    fake: OpenIdProvider, provider: Provider, question: Question
) -> None:
    fake.status |= {"/introspect": 503, "/userinfo": 503}
    with pytest.raises(RemoteServiceError):
        question(provider, "access", Deadline.after(5))
    fake.bend_introspection = fake.bend_userinfo = None
    other = Provider(fake.issuer, provider.credentials, provider.http, fake.clock)
    with pytest.raises(OpenIdError):
        question(other, "access", Deadline.after(5))
