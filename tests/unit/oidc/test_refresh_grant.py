"""Tests the request for new tokens by a refresh token, and the answers that prove nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from service.service import Clock

from sshaft.deadline import Deadline
from sshaft.errors import ReachError, RemoteServiceError
from sshaft.http_client import HttpClient
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft_oidc.provider import Provider, Tokens
from sshaft_oidc.refresh_grant import GrantEndedError, NotRedeemedError, redeem
from sshaft_oidc.remote_keys import OpenIdError


@pytest.fixture
def fake(clock: Clock) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(clock, "") as fake:
        fake.refresh_tokens["first"] = 1
        yield fake


@pytest.fixture
def provider(fake: OpenIdProvider, http: HttpClient, clock: Clock) -> Provider:
    return Provider(fake.issuer, ClientCredentials(CLIENT_ID, "client_secret_basic", CLIENT_SECRET), http, clock)


def redeemed(provider: Provider, token: str = "first") -> Tokens:
    return redeem(provider, token, Deadline.after(10))


def test_refresh_token_brings_new_tokens_and_the_next_refresh_token(fake: OpenIdProvider, provider: Provider) -> None:
    tokens = redeemed(provider)
    assert fake.forms == [{"grant_type": "refresh_token", "refresh_token": "first"}]
    assert tokens.refresh_token in fake.refresh_tokens
    assert provider.verify_id_token(tokens, Deadline.after(10))[0].sub == "subject-1"


def test_refresh_token_stays_where_the_provider_gives_no_other(fake: OpenIdProvider, provider: Provider) -> None:
    fake.keeps_refresh_tokens = True
    assert redeemed(provider).refresh_token == "first"


def test_token_that_has_ended_is_told_apart(provider: Provider) -> None:
    with pytest.raises(GrantEndedError):
        redeemed(provider, "other")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_invalid_grant_with_another_status_is_no_end(fake: OpenIdProvider, provider: Provider, status: int) -> None:
    """RFC 6749 §5.2 has 400 for it. Another status may be that of something before the provider."""
    fake.refresh_tokens.clear()
    fake.status["/token"] = status
    with pytest.raises(NotRedeemedError):
        redeemed(provider)


def test_other_error_leaves_the_token_as_it_is(fake: OpenIdProvider, provider: Provider) -> None:
    fake.errors.append("invalid_scope")
    with pytest.raises(NotRedeemedError, match="invalid_scope"):
        redeemed(provider)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b'{"access_token": ""}', b'{"id_token": "x"}'])
@pytest.mark.parametrize("status", [200, 400])
def test_broken_answer_proves_nothing(fake: OpenIdProvider, provider: Provider, body: bytes, status: int) -> None:
    fake.raw["/token"], fake.status["/token"] = body, status
    with pytest.raises(OpenIdError) as raised:
        redeemed(provider)
    assert type(raised.value) is OpenIdError


@pytest.mark.parametrize(("status", "failure"), [(302, RemoteServiceError), (500, ReachError), (503, ReachError)])
def test_provider_without_an_answer_proves_nothing(
    fake: OpenIdProvider, provider: Provider, status: int, failure: type[Any]
) -> None:
    fake.status["/token"] = status
    with pytest.raises(failure):
        redeemed(provider)


def test_fault_names_no_token(fake: OpenIdProvider, provider: Provider) -> None:
    for status in (200, 302, 400, 500):
        fake.raw["/token"], fake.status["/token"] = b'{"error": "first"', status
        with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it is
            redeemed(provider)
        assert "first" not in str(raised.value)
