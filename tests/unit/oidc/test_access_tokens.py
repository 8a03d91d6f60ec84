"""Tests whose access token it is: by RFC 9068, by introspection, and by UserInfo. And what opens nothing."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from fakes.forged_tokens import FORGERIES
from fakes.openid_provider import AUDIENCE, CLIENT_ID, CLIENT_SECRET, OpenIdProvider, encode
from service.service import Clock

from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.http_client import HttpClient
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft_oidc import access_tokens
from sshaft_oidc.access_tokens import AccessTokenError, Verification
from sshaft_oidc.provider import Provider
from sshaft_oidc.remote_keys import OpenIdError

OPAQUE = "opaque-token-of-alice"
Make = Callable[..., Verification]


def soon() -> Deadline:
    return Deadline.after(10)


@pytest.fixture
def fake(clock: Clock) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(clock, "") as fake:
        yield fake


@pytest.fixture
def verification(fake: OpenIdProvider, http: HttpClient) -> Make:
    def make(audience: tuple[str, ...] | None = (AUDIENCE,)) -> Verification:
        credentials = ClientCredentials(CLIENT_ID, "client_secret_basic", CLIENT_SECRET)
        provider = Provider(fake.issuer, credentials, http, fake.clock)
        return Verification(provider, audience, ("preferred_username",))

    return make


def fault(verify: Callable[[str, Deadline], object], token: str) -> str:
    with pytest.raises(AccessTokenError) as caught:
        verify(token, soon())
    return caught.value.fault


def test_jwt_says_whose_it_is(fake: OpenIdProvider, verification: Make) -> None:
    found = verification().from_jwt(fake.access_token(), soon())
    assert (found.identity.issuer, found.identity.subject) == (fake.issuer, "subject-1")
    assert found.identity.claims["preferred_username"] == "alice"
    assert found.identity.scopes == {"openid", "profile"}
    assert found.expires_at == fake.clock().timestamp() // 1 + 300


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "AT+JWT"])
def test_type_of_rfc_9068_is_taken(fake: OpenIdProvider, verification: Make, kind: str) -> None:
    assert verification().from_jwt(fake.access_token({"typ": kind}), soon())


@pytest.mark.parametrize("kind", ["JWT", None, "id+jwt", "dpop+jwt", "logout+jwt"])
def test_other_jwt_opens_nothing(fake: OpenIdProvider, verification: Make, kind: str | None) -> None:
    """An ID token has the type JWT or none. It is for the client, and must not open a host."""
    fake.bend_header = {"typ": kind}
    assert fault(verification().from_jwt, fake.access_token()) == "type"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "https://other.example.org"}, "issuer"),
        ({"iss": None}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"exp": "never"}, "malformed"),
        ({"exp": 1}, "expired"),
        ({"nbf": 4_000_000_000}, "early"),
        ({"aud": "https://web2.example.org"}, "audience"),
        ({"aud": [AUDIENCE + "/"]}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": [AUDIENCE, 5]}, "malformed"),
        ({"aud": {"aud": AUDIENCE}}, "malformed"),
        ({"sub": None}, "unknown"),
        ({"sub": 5}, "unknown"),
        ({"sub": "a\n"}, "unknown"),
        ({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "bound"),
        ({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}, "bound"),
        ({"cnf": {}}, "bound"),
    ],
)
def test_claim_that_is_wrong_opens_nothing(
    fake: OpenIdProvider, verification: Make, changes: dict[str, Any], expected: str
) -> None:
    assert fault(verification().from_jwt, fake.access_token(**changes)) == expected


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_token_opens_nothing(fake: OpenIdProvider, verification: Make, name: str) -> None:
    fake.make_token = FORGERIES[name](fake)
    with pytest.raises(OpenIdError):
        verification().from_jwt(fake.access_token(), soon())


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["https://web2.example.org", AUDIENCE]])
def test_token_for_several_services_is_taken(fake: OpenIdProvider, verification: Make, audience: Any) -> None:
    assert verification().from_jwt(fake.access_token(aud=audience), soon())


@pytest.mark.parametrize(
    ("scope", "expected"), [("a b", {"a", "b"}), (["a", "b"], {"a", "b"}), (None, set()), (5, set()), ([5, "a"], {"a"})]
)
def test_scopes_are_those_of_the_token(
    fake: OpenIdProvider, verification: Make, scope: Any, expected: set[str]
) -> None:
    assert verification().from_jwt(fake.access_token(scope=scope), soon()).identity.scopes == expected


def test_token_ends_at_its_second(fake: OpenIdProvider, verification: Make, clock: Clock) -> None:
    token, verify = fake.access_token(), verification().from_jwt
    clock.now += timedelta(seconds=299)
    assert verify(token, soon())
    clock.now += timedelta(seconds=1)
    assert fault(verify, token) == "expired"


def test_new_key_is_fetched_and_a_key_that_was_taken_back_counts_no_more(
    fake: OpenIdProvider, verification: Make, clock: Clock
) -> None:
    old, verify = fake.access_token(exp=clock().timestamp() + 9000), verification().from_jwt
    assert verify(old, soon())
    clock.now += timedelta(minutes=1)
    fake.new_key()
    assert verify(fake.access_token(), soon())
    assert fault(verify, old) == "key"


def test_unknown_keys_of_strangers_cause_no_flood(fake: OpenIdProvider, verification: Make, clock: Clock) -> None:
    """Nor do they if the provider cannot answer: then the known keys go on to count."""
    verify, good = verification().from_jwt, fake.access_token()
    assert verify(good, soon())
    clock.now += timedelta(minutes=1)
    fake.status["/jwks"] = 503
    with pytest.raises(RemoteServiceError):
        verify(fake.access_token({"kid": "unknown"}), soon())
    for number in range(20):
        assert fault(verify, fake.access_token({"kid": f"unknown-{number}"})) == "key"
        assert verify(good, soon())
    assert fake.calls.count("/jwks") == 2


def test_missing_claims_come_from_userinfo(fake: OpenIdProvider, verification: Make) -> None:
    token = fake.access_token(preferred_username=None)
    fake.good_tokens, fake.bend_userinfo = {token}, {"sub": "subject-1", "preferred_username": "alice"}
    assert verification().from_jwt(token, soon()).identity.claims["preferred_username"] == "alice"


@pytest.mark.parametrize(
    "told", [None, {"sub": "subject-2", "preferred_username": "root"}, {"preferred_username": "root"}, []]
)
def test_userinfo_that_says_nothing_of_the_person_adds_nothing(
    fake: OpenIdProvider, verification: Make, told: Any
) -> None:
    token = fake.access_token(preferred_username=None)
    fake.good_tokens, fake.bend_userinfo = {token}, told
    assert "preferred_username" not in verification().from_jwt(token, soon()).identity.claims


# --- introspection and UserInfo

TOLD = {"sub": "subject-1", "preferred_username": "alice", "aud": AUDIENCE, "scope": "openid", "token_type": "Bearer"}


def test_introspection_says_whose_an_opaque_token_is(fake: OpenIdProvider, verification: Make) -> None:
    fake.bend_introspection = TOLD | {"exp": fake.clock().timestamp() + 60}
    found = verification().from_introspection("access", soon())
    assert (found.identity.subject, found.identity.scopes) == ("subject-1", {"openid"})
    assert found.expires_at == fake.bend_introspection["exp"]
    assert fake.forms[-1] == {"token": "access", "token_type_hint": "access_token"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"active": False}, "unknown"),
        ({"iss": "https://other.example.org"}, "issuer"),
        ({"exp": 1}, "expired"),
        ({"nbf": 4_000_000_000}, "early"),
        ({"aud": "https://web2.example.org"}, "audience"),
        ({"aud": None}, "audience"),
        ({"sub": None}, "unknown"),
        ({"cnf": {"jkt": "x"}}, "bound"),
        ({"token_type": "DPoP"}, "type"),
        ({"token_type": "refresh_token"}, "type"),
        ({"token_type": "id_token"}, "type"),
        ({"typ": "Refresh"}, "type"),
        ({"token_use": "refresh_token"}, "type"),
        ({"typ": "ID"}, "type"),
    ],
)
def test_introspection_that_says_something_else_opens_nothing(
    fake: OpenIdProvider, verification: Make, changes: dict[str, Any], expected: str
) -> None:
    fake.bend_introspection = TOLD | changes
    assert fault(verification().from_introspection, "access") == expected


@pytest.mark.parametrize("changes", [{"active": "true"}, {"active": None}, {"exp": "soon"}, {"iss": 5}])
def test_broken_introspection_proves_nothing(fake: OpenIdProvider, verification: Make, changes: dict[str, Any]) -> None:
    fake.bend_introspection = TOLD | changes
    with pytest.raises(OpenIdError):
        verification().from_introspection("access", soon())


def test_userinfo_says_whose_an_opaque_token_is(fake: OpenIdProvider, verification: Make) -> None:
    fake.good_tokens = {OPAQUE}
    fake.bend_userinfo = {"sub": "subject-1", "preferred_username": "alice"}
    found = verification(None).from_userinfo(OPAQUE, soon())
    assert (found.identity.subject, found.identity.scopes, found.expires_at) == ("subject-1", set(), None)
    assert fault(verification(None).from_userinfo, "another-opaque-token") == "unknown"


def test_userinfo_of_nobody_opens_nothing(fake: OpenIdProvider, verification: Make) -> None:
    fake.good_tokens = {OPAQUE}
    fake.bend_userinfo = {"preferred_username": "alice"}
    assert fault(verification(None).from_userinfo, OPAQUE) == "unknown"


def test_jwt_that_nobody_has_verified_does_not_count_longer_than_it_says(
    fake: OpenIdProvider, verification: Make
) -> None:
    token = fake.access_token(exp=1_900_000_000)
    fake.good_tokens, fake.bend_userinfo = {token}, {"sub": "subject-1"}
    assert verification(None).from_userinfo(token, soon()).expires_at == 1_900_000_000


def test_jwt_of_any_type_that_userinfo_takes_says_for_whom_it_is(fake: OpenIdProvider, verification: Make) -> None:
    token = fake.access_token({"typ": "JWT"}, groups=["admins"])
    fake.good_tokens, fake.bend_userinfo = {token}, {"sub": "subject-1", "preferred_username": "alice"}
    found = verification().from_userinfo(token, soon())
    assert (found.identity.scopes, found.identity.claims["groups"]) == ({"openid", "profile"}, ["admins"])
    assert found.expires_at == fake.clock().timestamp() + 300


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"aud": "https://web2.example.org"}, "audience"), ({"exp": 1}, "expired"), ({"cnf": {"jkt": "x"}}, "bound")],
)
def test_jwt_for_somebody_else_opens_nothing_also_if_userinfo_takes_it(
    fake: OpenIdProvider, verification: Make, changes: dict[str, Any], expected: str
) -> None:
    token = fake.access_token({"typ": "JWT"}, **changes)
    fake.good_tokens, fake.bend_userinfo = {token}, {"sub": "subject-1", "preferred_username": "alice"}
    assert fault(verification().from_userinfo, token) == expected


def test_id_token_and_opaque_token_open_nothing_where_the_audience_counts(
    fake: OpenIdProvider, verification: Make
) -> None:
    """The userinfo endpoint takes no ID token. An opaque one does not say for whom it is."""
    fake.bend_userinfo = {"sub": "subject-1", "preferred_username": "alice"}
    assert fault(verification().from_userinfo, fake.access_token({"typ": "JWT"})) == "unknown"
    assert fault(verification().from_userinfo, "access") == "malformed"


def test_userinfo_of_another_person_proves_nothing(fake: OpenIdProvider, verification: Make) -> None:
    token = fake.access_token()
    fake.good_tokens, fake.bend_userinfo = {token}, {"sub": "subject-2", "preferred_username": "root"}
    with pytest.raises(OpenIdError):
        verification().from_userinfo(token, soon())


# --- what can be seen without a key


def shape_fault(token: str) -> str:
    with pytest.raises(AccessTokenError) as caught:
        access_tokens.shape_of(token)
    return caught.value.fault


@pytest.mark.parametrize(
    "token", ["", "correct-horse", "a" * 19, "a b", "a\nb", "ä", "a\x00", "=a", "a" * 12_289, "a,b", "a\\"]
)
def test_text_that_is_no_token_goes_to_no_provider(token: str) -> None:
    assert shape_fault(token) == "malformed"


@pytest.mark.parametrize(
    "token", ["a" * 20, "ya29.a0AfH6SM.xyz-xyz", f"a.b.{'c' * 20}", f"1e2.{'c' * 20}", encode({"no": "alg"}) + ".e30.x"]
)
def test_opaque_token_names_nobody(token: str) -> None:
    shape = access_tokens.shape_of(token)
    assert (shape.is_jwt, shape.issuer) == (False, "")


def test_jwt_names_its_issuer(fake: OpenIdProvider) -> None:
    shape = access_tokens.shape_of(fake.access_token())
    assert (shape.is_jwt, shape.issuer) == (True, fake.issuer)


def test_beginning_of_a_jwt_is_no_opaque_token(fake: OpenIdProvider) -> None:
    """It would be shown to the provider of opaque tokens otherwise."""
    header, claims, _ = fake.access_token().split(".")
    for part in (header, f"{header}.", f"{header}.{claims[:40]}", f"{header}.{claims}", f"{header}.{claims}.a.b.c.d"):
        assert shape_fault(part) == "cut"


def test_encrypted_jwt_names_nobody_and_is_no_opaque_token() -> None:
    shape = access_tokens.shape_of(encode({"alg": "RSA-OAEP", "enc": "A256GCM"}) + ".a.b.c.d")
    assert (shape.is_jwt, shape.issuer) == (True, "")


def test_token_that_ssh_has_cut_is_known(fake: OpenIdProvider) -> None:
    token = fake.access_token()
    assert not access_tokens.is_cut(token)
    assert access_tokens.is_cut(token[:-9])
    assert access_tokens.is_cut("a" * 1023)
    assert not access_tokens.is_cut("a" * 1022)
