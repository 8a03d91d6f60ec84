"""Tests the device grant: the requests to a provider, and the answers that must let nobody in."""

from collections.abc import Iterator
from typing import Any

import pytest
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from service.service import Clock

from sshaft.deadline import Deadline
from sshaft.errors import ReachError, RemoteServiceError
from sshaft.http_client import HttpClient
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft_oidc.device_grant import DeviceCode, DeviceGrant, DeviceGrantError
from sshaft_oidc.provider import Provider
from sshaft_oidc.remote_keys import OpenIdError

CONFIDENTIAL = ClientCredentials(CLIENT_ID, "client_secret_basic", CLIENT_SECRET)
PUBLIC = ClientCredentials(CLIENT_ID, "none")
PKCE = {"code_challenge_methods_supported": ["plain", "S256"]}


@pytest.fixture
def provider(clock: Clock) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(clock, "") as provider:
        yield provider


@pytest.fixture
def grant(provider: OpenIdProvider, clock: Clock) -> Iterator[DeviceGrant]:
    http = HttpClient(peer="provider")
    yield DeviceGrant(Provider(provider.issuer, CONFIDENTIAL, http, clock), ("openid", "profile"))
    http.close()


def soon() -> Deadline:
    return Deadline.after(10)


def begun(grant: DeviceGrant) -> DeviceCode:
    return grant.begin(soon())


def test_person_who_approves_is_identified(grant: DeviceGrant, provider: OpenIdProvider) -> None:
    code = begun(grant)
    assert (code.user_code, code.verification_uri) == ("WDJB-MJHT", f"{provider.issuer}/device")
    assert grant.poll(code, soon()) is None
    provider.is_approved = True
    tokens = grant.poll(code, soon())
    assert tokens is not None
    claims, everything = grant.provider.verify_id_token(tokens, soon())
    assert (claims.sub, everything["preferred_username"]) == ("subject-1", "alice")
    assert provider.forms[0] == {"client_id": CLIENT_ID, "scope": "openid profile"}


@pytest.mark.parametrize("public", [True, False])
def test_public_clients_and_pkce_work(provider: OpenIdProvider, clock: Clock, *, public: bool) -> None:
    provider.public, provider.bend_metadata = public, PKCE
    credentials = PUBLIC if public else CONFIDENTIAL
    grant = DeviceGrant(Provider(provider.issuer, credentials, HttpClient(peer="provider"), clock), ("openid",))
    code = begun(grant)
    assert provider.forms[0]["code_challenge_method"] == "S256"
    provider.is_approved = True
    assert grant.poll(code, soon()) is not None


def test_request_for_a_code_is_sent_again_once(grant: DeviceGrant, provider: OpenIdProvider) -> None:
    path, statuses = "/device_authorization", [502]
    provider.on_call[path] = lambda: provider.status.update({path: statuses.pop() if statuses else 200})
    assert begun(grant).user_code == "WDJB-MJHT"
    statuses.extend([502, 502])
    with pytest.raises(ReachError):
        begun(grant)
    assert provider.calls.count(path) == 4


def test_provider_may_answer_as_google_does(grant: DeviceGrant, provider: OpenIdProvider) -> None:
    """Google names the address `verification_url`, and answers 428 to a login that waits."""
    provider.bend_device = {"verification_uri": None, "verification_url": "https://www.google.com/device"}
    provider.status["/token"] = 428
    code = begun(grant)
    assert code.verification_uri == "https://www.google.com/device"
    assert grant.poll(code, soon()) is None


def test_interval_grows_when_the_provider_asks_for_it(grant: DeviceGrant, provider: OpenIdProvider) -> None:
    """RFC 8628 §3.5: five seconds more after each `slow_down`."""
    code = begun(grant)
    provider.errors = ["slow_down", "authorization_pending", "slow_down"]
    intervals = []
    for _ in range(3):
        assert grant.poll(code, soon()) is None
        intervals.append(round(code.interval, 2))
    assert intervals == [5.01, 5.01, 10.01]


def test_provider_that_is_down_for_a_moment_is_asked_again(grant: DeviceGrant, provider: OpenIdProvider) -> None:
    code = begun(grant)
    provider.status["/token"] = 503
    assert grant.poll(code, soon()) is None
    assert code.interval > 5
    provider.status.clear()
    provider.is_approved = True
    assert grant.poll(code, soon()) is not None


@pytest.mark.parametrize("error", ["access_denied", "expired_token", "invalid_grant", "invalid_client"])
def test_other_errors_end_the_login(grant: DeviceGrant, provider: OpenIdProvider, error: str) -> None:
    code = begun(grant)
    provider.errors = [error]
    with pytest.raises(DeviceGrantError) as ended:
        grant.poll(code, soon())
    assert ended.value.error == error


@pytest.mark.parametrize(
    ("given", "interval", "expires_in"),
    [
        ({"interval": None}, 5, 600),
        ({"interval": "soon"}, 5, 600),
        ({"interval": -1}, 5, 600),
        ({"interval": 3600}, 60, 600),
        ({"expires_in": 10**9}, 0.01, 3600),
    ],
)
def test_times_are_bounded(
    grant: DeviceGrant, provider: OpenIdProvider, given: dict[str, Any], interval: float, expires_in: float
) -> None:
    provider.bend_device = given
    code = begun(grant)
    assert (code.interval, code.expires_in) == (interval, expires_in)


@pytest.mark.parametrize(
    "given",
    [
        {"device_code": None},
        {"device_code": ""},
        {"user_code": None},
        {"user_code": "\x1b[2JWDJB"},
        {"user_code": "X" * 65},
        {"user_code": "\u0430\u0430\u0430\u0430"},
        {"verification_uri": "http://elsewhere.example/"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "https://a.example/\x1b]0;x\x07"},
        {"verification_uri": "https://user@a.example/"},
        {"verification_uri": "https://a.example/" + "x" * 900},
        {"expires_in": 0},
        {"expires_in": None},
        {"expires_in": "600"},
    ],
)
def test_answer_that_cannot_be_shown_or_used_begins_nothing(
    grant: DeviceGrant, provider: OpenIdProvider, given: dict[str, Any]
) -> None:
    provider.bend_device = given
    with pytest.raises(OpenIdError):
        begun(grant)


def test_complete_address_is_left_out_if_it_cannot_be_used(grant: DeviceGrant, provider: OpenIdProvider) -> None:
    for address in ("http://elsewhere.example/?c=1", "https://a.example/ x", "https://a.example/" + "x" * 900, 7):
        provider.bend_device = {"verification_uri_complete": address}
        assert begun(grant).verification_uri_complete is None
    provider.bend_device = {"verification_uri_complete": f"{provider.issuer}/device?c=1"}
    assert begun(grant).verification_uri_complete == f"{provider.issuer}/device?c=1"


@pytest.mark.parametrize(
    "metadata",
    [{"device_authorization_endpoint": None}, {"device_authorization_endpoint": "ftp://a.example/"}, {"issuer": "x"}],
)
def test_provider_without_the_grant_is_named(
    grant: DeviceGrant, provider: OpenIdProvider, metadata: dict[str, Any]
) -> None:
    provider.bend_metadata = metadata
    with pytest.raises(OpenIdError, match="metadata"):
        begun(grant)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"aud": [CLIENT_ID, "other"]},
        {"azp": "other"},
        {"exp": 0},
        {"iat": 0},
        {"sub": ""},
        {"sub": None},
        {"nonce": "of another sign-in"},
    ],
)
def test_id_token_of_another_login_identifies_nobody(
    grant: DeviceGrant, provider: OpenIdProvider, claims: dict[str, Any]
) -> None:
    provider.bend_claims, provider.is_approved = claims, True
    tokens = grant.poll(begun(grant), soon())
    assert tokens is not None
    with pytest.raises(OpenIdError, match="id_token"):
        grant.provider.verify_id_token(tokens, soon())


@pytest.mark.parametrize(
    ("status", "error"), [(302, RemoteServiceError), (404, OpenIdError), (500, RemoteServiceError)]
)
def test_answers_of_other_statuses_are_errors(
    grant: DeviceGrant, provider: OpenIdProvider, status: int, error: type[Exception]
) -> None:
    provider.status["/device_authorization"] = status
    with pytest.raises(error):
        begun(grant)
