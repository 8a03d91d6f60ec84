"""Tests who has approved a device login: by the ID token, by introspection, by UserInfo, and at Entra."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from service.service import Clock

from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.http_client import HttpClient
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft_oidc.device_grant import DeviceGrant
from sshaft_oidc.entra import Tenant, tenant_of
from sshaft_oidc.identity import Identification, Identity
from sshaft_oidc.provider import Provider, Tokens
from sshaft_oidc.remote_keys import OpenIdError
from sshaft_oidc.settings import Endpoints

ASKED = ("openid", "profile")
TENANT = "7d2f4c1e-0b9a-4f63-8e5d-2a1b3c4d5e6f"
PERSON = "b1f0c0de-1111-2222-3333-444455556666"
ADMINS, USERS = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"
OVERAGE = {
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "http://127.0.0.1:9/users/x/getMemberObjects"}},
}
FULL = {
    "scope": "profile openid", "sub": "subject-1", "username": "alice", "client_id": CLIENT_ID, "token_type": "Bearer",
}  # fmt: skip


@pytest.fixture
def provider(clock: Clock) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(clock, "") as provider:
        provider.is_approved = True
        yield provider


def soon() -> Deadline:
    return Deadline.after(10)


class Login:
    """One approved device login. `groups` decide something; `options` are those of `Provider`."""

    def __init__(
        self, fake: OpenIdProvider, http: HttpClient, groups: Sequence[str] = (ADMINS, USERS), **options: Any
    ) -> None:
        self.groups = groups
        credentials = ClientCredentials(CLIENT_ID, "client_secret_basic", CLIENT_SECRET)
        self.provider = Provider(fake.issuer, credentials, http, fake.clock, **options)

    def tokens(self) -> Tokens:
        grant = DeviceGrant(self.provider, ASKED)
        tokens = grant.poll(grant.begin(soon()), soon())
        assert tokens is not None
        return tokens

    def identification(self, *subject_claims: str) -> Identification:
        return Identification(self.provider, ASKED, ("groups",), subject_claims, self.groups)

    def by_introspection(self) -> Identity:
        return self.identification("sub", "username").from_introspection(self.tokens(), soon())

    def by_userinfo(self, claim: str = "sub") -> Identity:
        return self.identification(claim).from_userinfo(self.tokens(), soon())

    def by_id_token(self, tenant: Tenant | None = None) -> Identity:
        return self.identification("oid" if tenant else "sub").from_id_token(self.tokens(), tenant, soon())


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({}, "subject-1"),
        ({"iss": "ISSUER"}, "subject-1"),
        ({"exp": 2e9}, "subject-1"),
        ({"client_id": None, "token_type": None}, "subject-1"),
        ({"sub": None}, "alice"),
        ({"username": None}, "subject-1"),
    ],
    ids=str,
)
def test_introspection_names_the_person(
    provider: OpenIdProvider, http: HttpClient, given: dict[str, Any], subject: str
) -> None:
    given = given | ({"iss": provider.issuer} if "iss" in given else {})
    provider.bend_introspection = FULL | given
    found = Login(provider, http).by_introspection()
    assert (found.issuer, found.subject, found.scopes) == (provider.issuer, subject, {"openid", "profile"})
    assert provider.forms[-1] == {"token": "access", "token_type_hint": "access_token"}


@pytest.mark.parametrize(
    "given",
    [
        {"active": False},
        {"active": None},
        {"active": "true"},
        {"active": 1},
        {"exp": 0},
        {"exp": -1},
        {"exp": 1e300},
        {"exp": float("nan")},
        {"exp": "2000000000"},
        {"iss": "https://other.example"},
        {"iss": ["https://other.example"]},
        {"client_id": "other"},
        {"sub": None, "username": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": ["subject-1"]},
        {"sub": "x" * 256},
        {"sub": "subject-1\n"},
        {"sub": "\ud800"},
        {"sub": None, "username": {"name": "alice"}},
    ],
    ids=str,
)
def test_introspection_that_proves_nothing_identifies_nobody(
    provider: OpenIdProvider, http: HttpClient, given: dict[str, Any]
) -> None:
    provider.bend_introspection = FULL | given
    with pytest.raises(OpenIdError, match=r"introspection endpoint|not good|does not say sub or username"):
        Login(provider, http).by_introspection()


@pytest.mark.parametrize("scope", [None, "", ["openid", "profile"], {"openid": 1}, 7])
def test_introspection_grants_only_the_scopes_that_it_names(
    provider: OpenIdProvider, http: HttpClient, scope: Any
) -> None:
    provider.bend_introspection = FULL | {"scope": scope}
    assert Login(provider, http).by_introspection().scopes == frozenset()


def test_introspection_without_sub_gets_nothing_from_userinfo(provider: OpenIdProvider, http: HttpClient) -> None:
    """Nothing could show that UserInfo speaks of the same person."""
    provider.bend_introspection, provider.bend_userinfo = FULL, {"sub": "subject-1", "groups": ["g"]}
    login = Login(provider, http)
    assert login.by_introspection().claims["groups"] == ["g"]
    provider.bend_introspection = FULL | {"sub": None}
    assert "groups" not in login.by_introspection().claims


@pytest.mark.parametrize(
    ("told", "claim", "subject"),
    [
        ({"sub": "subject-1", "groups": ["g"]}, "sub", "subject-1"),
        ({"id": "0a1b", "userName": "alice", "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"]}, "id", "0a1b"),
    ],
)
def test_userinfo_names_the_person(
    provider: OpenIdProvider, http: HttpClient, told: dict[str, Any], claim: str, subject: str
) -> None:
    """The second one is SCIM's `Me`, which has no `sub`. The address is configured; an ID token is not needed."""
    provider.bend_userinfo, provider.bend_tokens = told, {"id_token": None, "token_type": None}
    found = Login(provider, http).by_userinfo(claim)
    assert (found.subject, found.claims) == (subject, told)


@pytest.mark.parametrize(
    "told", [{}, {"sub": None}, {"sub": ""}, {"sub": 7}, {"sub": ["x"]}, {"sub": "x" * 256}, [], 7]
)
def test_userinfo_that_names_nobody_identifies_nobody(provider: OpenIdProvider, http: HttpClient, told: Any) -> None:
    provider.bend_userinfo = told
    with pytest.raises(OpenIdError, match=r"userinfo|does not say sub"):
        Login(provider, http).by_userinfo()


@pytest.mark.parametrize("source", ["introspection", "userinfo", "id_token"])
def test_missing_token_identifies_nobody(provider: OpenIdProvider, http: HttpClient, source: str) -> None:
    provider.bend_introspection, provider.bend_userinfo = FULL, {"sub": "subject-1"}
    provider.bend_tokens = {"access_token": None} if source != "id_token" else {"id_token": None}
    with pytest.raises(OpenIdError, match="came back"):
        getattr(Login(provider, http), f"by_{source}")()


@pytest.mark.parametrize("source", ["introspection", "userinfo"])
def test_missing_endpoint_is_named(provider: OpenIdProvider, http: HttpClient, source: str) -> None:
    with pytest.raises(OpenIdError, match=f"no {source}_endpoint"):
        getattr(Login(provider, http), f"by_{source}")()


@pytest.mark.parametrize(
    ("given", "granted"),
    [
        ({}, list(ASKED)),
        ({"scope": "openid ssh"}, ["openid", "ssh"]),
        ({"scope": ""}, []),
        ({"scope": ["openid", "profile"]}, []),
    ],
    ids=str,
)
def test_token_without_scope_has_those_that_were_asked_for(
    provider: OpenIdProvider, http: HttpClient, given: dict[str, Any], granted: list[str]
) -> None:
    """RFC 6749 §5.1. A member that cannot be read grants nothing."""
    provider.bend_tokens = given
    assert Login(provider, http).by_id_token().scopes == set(granted)


def test_userinfo_of_somebody_else_identifies_nobody(provider: OpenIdProvider, http: HttpClient) -> None:
    provider.bend_userinfo = {"sub": "somebody-else", "groups": ["admins"]}
    with pytest.raises(OpenIdError, match="somebody else"):
        Login(provider, http).by_id_token()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519"])
def test_at_hash_is_that_of_the_access_token(provider: OpenIdProvider, http: HttpClient, algorithm: str) -> None:
    provider.algorithm = algorithm
    provider.new_key()
    digest = (hashlib.sha512 if algorithm == "Ed25519" else hashlib.sha256)(b"access").digest()
    at_hash = base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")
    provider.bend_claims = {"at_hash": at_hash}
    login = Login(provider, http)
    assert login.by_id_token().subject == "subject-1"
    for wrong in ("", at_hash[:-1], at_hash.swapcase(), 7):
        provider.bend_claims = {"at_hash": wrong}
        with pytest.raises(OpenIdError, match="at_hash"):
            login.by_id_token()


# --- explicit endpoints


def test_explicit_endpoints_need_no_metadata_and_use_pkce(provider: OpenIdProvider, http: HttpClient) -> None:
    provider.bend_userinfo, provider.bend_introspection = {"sub": "subject-1"}, FULL
    names = {"device_authorization_endpoint": "device_authorization", "token_endpoint": "token", "jwks_uri": "jwks",
             "userinfo_endpoint": "userinfo", "introspection_endpoint": "introspect"}  # fmt: skip
    login = Login(
        provider, http, endpoints=Endpoints(**{name: f"{provider.issuer}/{path}" for name, path in names.items()})
    )
    assert login.by_id_token().subject == login.by_userinfo().subject == login.by_introspection().subject
    assert "/.well-known/openid-configuration" not in provider.calls
    assert provider.forms[0]["code_challenge_method"] == "S256"


def test_explicit_endpoint_replaces_that_of_the_metadata(provider: OpenIdProvider, http: HttpClient) -> None:
    provider.bend_metadata = {"userinfo_endpoint": "https://elsewhere.example/userinfo"}
    provider.bend_userinfo = {"sub": "subject-1"}
    endpoints = Endpoints(userinfo_endpoint=f"{provider.issuer}/userinfo")
    assert Login(provider, http, endpoints=endpoints).by_userinfo().subject == "subject-1"
    assert "/.well-known/openid-configuration" in provider.calls


def test_endpoints_without_a_revocation_endpoint_revoke_nothing(provider: OpenIdProvider, http: HttpClient) -> None:
    endpoints = Endpoints(device_authorization_endpoint=f"{provider.issuer}/d", token_endpoint=f"{provider.issuer}/t")
    Login(provider, http, endpoints=endpoints).provider.revoke(Tokens(access_token="access"), soon())
    assert provider.calls == []


def test_refresh_token_that_nobody_asked_for_is_revoked(provider: OpenIdProvider, http: HttpClient) -> None:
    provider.bend_metadata = {"revocation_endpoint": f"{provider.issuer}/revoke"}
    provider.bend_tokens = {"refresh_token": "refresh"}
    login = Login(provider, http)
    login.provider.revoke(login.tokens(), soon())
    assert provider.forms[-2:] == [
        {"token": "refresh", "token_type_hint": "refresh_token"},
        {"token": "access", "token_type_hint": "access_token"},
    ]


# --- Entra


@pytest.fixture
def tenant(provider: OpenIdProvider) -> Tenant:
    """Makes the provider a tenant of Entra, with Microsoft Graph at the same host."""
    base = provider.issuer
    provider.issuer = f"{base}/{TENANT}/v2.0"
    provider.user = {"sub": "pairwise", "oid": PERSON, "tid": TENANT, "preferred_username": "alice@contoso.com"}
    found = tenant_of(provider.issuer, base, None, anywhere=True)
    assert found is not None
    return found


def test_entra_names_a_person_by_the_object_id(provider: OpenIdProvider, http: HttpClient, tenant: Tenant) -> None:
    found = Login(provider, http).by_id_token(tenant)
    assert (found.issuer, found.subject) == (provider.issuer, PERSON)


@pytest.mark.parametrize("is_configured", [True, False])
def test_other_issuer_of_the_tenant_counts_where_it_is_configured(
    provider: OpenIdProvider, http: HttpClient, tenant: Tenant, *, is_configured: bool
) -> None:
    other = f"{tenant.graph}/{TENANT}/"
    provider.bend_claims = {"iss": other}
    login = Login(provider, http, other_issuer=other if is_configured else None)
    if is_configured:
        assert login.by_id_token(tenant).issuer == provider.issuer
    else:
        with pytest.raises(OpenIdError, match="iss"):
            login.by_id_token(tenant)


@pytest.mark.parametrize("claims", [{"oid": None}, {"oid": ""}, {"oid": 7}])
def test_person_of_entra_without_an_object_id_is_nobody(
    provider: OpenIdProvider, http: HttpClient, tenant: Tenant, claims: dict[str, Any]
) -> None:
    provider.bend_claims = claims
    with pytest.raises(OpenIdError, match="does not say oid"):
        Login(provider, http).by_id_token(tenant)


@pytest.mark.parametrize("claims", [OVERAGE, {"hasgroups": True}], ids=["_claim_names", "hasgroups"])
def test_groups_that_do_not_fit_are_asked_of_graph(
    provider: OpenIdProvider, http: HttpClient, tenant: Tenant, claims: dict[str, Any]
) -> None:
    """The address in the token is never used. A group that nobody has asked for does not count."""
    provider.bend_claims, provider.member_groups = claims, {"value": [USERS, "bbbbbbbb-0000-4000-8000-000000000003"]}
    assert Login(provider, http).by_id_token(tenant).claims["groups"] == [USERS]
    assert provider.asked_groups == [[ADMINS, USERS]]


def test_graph_is_asked_for_20_groups_at_a_time(provider: OpenIdProvider, http: HttpClient, tenant: Tenant) -> None:
    groups = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(45)]
    provider.bend_claims, provider.member_groups = OVERAGE, {"value": [groups[44]]}
    login = Login(provider, http, ["a name", *groups])
    assert login.by_id_token(tenant).claims["groups"] == [groups[44]]
    assert provider.asked_groups == [groups[:20], groups[20:40], groups[40:]]


def test_graph_is_not_asked_for_groups_without_an_id(
    provider: OpenIdProvider, http: HttpClient, tenant: Tenant
) -> None:
    provider.bend_claims = OVERAGE
    assert Login(provider, http, ["ssh-users"]).by_id_token(tenant).claims["groups"] == []
    assert provider.asked_groups == []


@pytest.mark.parametrize(
    "claims",
    [{"groups": ["g"]}, {"groups": ["g"]} | OVERAGE, {}, {"hasgroups": "yes"}, {"_claim_names": ["groups"]}],
    ids=str,
)
def test_graph_is_asked_for_nothing_else(
    provider: OpenIdProvider, http: HttpClient, tenant: Tenant, claims: dict[str, Any]
) -> None:
    provider.bend_claims, provider.member_groups = claims, {"value": [ADMINS]}
    assert Login(provider, http).by_id_token(tenant).claims.get("groups") == claims.get("groups")
    assert provider.asked_groups == []


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, None),
        (200, {}),
        (200, {"value": ADMINS}),
        (200, {"value": [ADMINS, 7]}),
        (200, {"value": [{"id": ADMINS}]}),
        (200, {"value": [ADMINS] * 10_000}),
        (302, {"value": [ADMINS]}),
        (400, {"error": {"code": "Request_BadRequest"}}),
        (401, {}),
        (403, {"value": [ADMINS]}),
        (503, {"value": [ADMINS]}),
    ],
)
def test_graph_that_does_not_answer_lets_nobody_in(
    provider: OpenIdProvider, http: HttpClient, tenant: Tenant, status: int, answer: Any
) -> None:
    provider.bend_claims, provider.member_groups = OVERAGE, answer
    provider.status["/v1.0/me/checkMemberGroups"] = status
    with pytest.raises((OpenIdError, RemoteServiceError)):
        Login(provider, http).by_id_token(tenant)


@pytest.mark.parametrize(
    ("issuer", "graph"),
    [
        (f"https://login.microsoftonline.com/{TENANT}/v2.0", "https://graph.microsoft.com"),
        (f"https://sts.windows.net/{TENANT}/", "https://graph.microsoft.com"),
        (f"https://login.microsoftonline.us/{TENANT}/v2.0", "https://graph.microsoft.us"),
        (f"https://login.partner.microsoftonline.cn/{TENANT}/v2.0", "https://microsoftgraph.chinacloudapi.cn"),
    ],
)
def test_issuer_of_entra_is_known_by_its_host(issuer: str, graph: str) -> None:
    assert tenant_of(issuer, None, None, anywhere=False) == Tenant(TENANT, graph)


def test_host_that_only_looks_like_entra_is_another_provider() -> None:
    for host in ("login.microsoftonline.com.evil.example", "evil.example", "graph.microsoft.com"):
        assert tenant_of(f"https://{host}/{TENANT}/v2.0", None, None, anywhere=False) is None
