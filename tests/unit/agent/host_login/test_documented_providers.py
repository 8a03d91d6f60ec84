"""Tests the host login of each provider's page, at a stub that answers as the provider documents it."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider

from sshaft.deadline import Deadline
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.realm import Realm, RefusedError
from sshaft_agent.host_login.settings import Entra, HostLoginSettings
from sshaft_oidc.remote_keys import OpenIdError

PAGES = Path(__file__).parents[4] / "docs" / "providers"
TENANT = "7d2f4c1e-0b9a-4f63-8e5d-2a1b3c4d5e6f"
POSIX = "urn:ietf:params:scim:schemas:oracle:idcs:extension:posix:User"
GROUP = "aaaaaaaa-0000-4000-8000-000000000001"
OVERAGE = {"_claim_names": {"groups": "s"}, "_claim_sources": {"s": {"endpoint": "https://graph.windows.net/x"}}}


@dataclass
class Documented:
    """What a provider answers for alice, and what makes the login of another person be refused."""

    user: dict[str, Any]
    refused: dict[str, Any]
    bent: dict[str, Any] = field(default_factory=dict)
    """Members of the stub."""


DOCUMENTED = {
    "keycloak": Documented(
        {"sub": "f1e2", "preferred_username": "alice", "groups": ["/ssh-users"]}, {"groups": ["/other"]},
        {"demands_pkce": True, "bend_metadata": {"code_challenge_methods_supported": ["plain", "S256"]}},
    ),
    "okta": Documented(
        {"sub": "00u1", "preferred_username": "alice@example.org", "groups": ["ssh-users"]}, {"groups": []}
    ),
    "authentik": Documented(
        {"sub": "ab12", "preferred_username": "alice", "groups": ["ssh-users"]}, {"groups": ["other"]}
    ),
    "glewlwyd": Documented({"sub": "random", "username": "alice"}, {"username": "mallory"}),
    "entra": Documented(
        {"sub": "pairwise", "oid": "b1f0c0de", "tid": TENANT, "preferred_username": "alice@example.org"} | OVERAGE,
        {"tid": "00000000-0b9a-4f63-8e5d-2a1b3c4d5e6f"},
        {"member_groups": {"value": [GROUP]}},
    ),
    "google": Documented(
        {"sub": "1084", "email": "alice@example.org", "email_verified": True, "hd": "example.org"}, {"hd": None},
        {"bend_device": {"verification_uri": None, "verification_url": "https://www.google.com/device"}},
    ),
    "oracle-idcs": Documented(
        {}, {POSIX: {"uidNumber": 1001}},
        {
            "bend_tokens": {"id_token": None},
            "bend_userinfo": {"id": "0a1b", "userName": "alice", POSIX: {"uidNumber": 1000}},
            "other_paths": {
                "/oauth2/v1/device": "/device_authorization", "/oauth2/v1/token": "/token", "/admin/v1/Me": "/userinfo",
            },
        },
    ),
}  # fmt: skip


def test_every_page_with_a_configuration_is_tested() -> None:
    assert {page.stem for page in PAGES.glob("*.md") if '"host_login": {' in page.read_text()} == set(DOCUMENTED)


def realm_of(page: str, provider: OpenIdProvider, directory: Path) -> Realm:
    """Returns host login as the page configures it, with the stub in the place of the provider."""
    found = re.search(
        r'^ *"host_login": (\{.*?^       \})', (PAGES / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert found
    text = found[1].replace("TENANT-ID", TENANT).replace("GROUP-OBJECT-ID", GROUP)
    issuer = urlsplit(json.loads(text)["issuer"])
    base = provider.issuer
    configured = json.loads(text.replace(f"{issuer.scheme}://{issuer.netloc}", base)) | {"client_id": CLIENT_ID}
    provider.issuer = configured["issuer"]
    provider.public = "client_secret_file" not in configured
    if not provider.public:
        secret = directory / "secret"
        secret.write_text(CLIENT_SECRET)
        configured["client_secret_file"] = str(secret)
    if page == "entra":  # outside of Microsoft's clouds it must be said
        configured["entra"] = {"graph_endpoint": base}
    return Realm(HostLoginSettings.model_validate_json(json.dumps(configured)))


def log_in(realm: Realm, bindings: Bindings, account: str = "alice") -> None:
    deadline = Deadline.after(10)
    tokens = realm.grant.poll(realm.grant.begin(deadline), deadline)
    assert tokens is not None
    found = Account(account, 1000 if account == "alice" else 1002)
    realm.decide(found, realm.identify(tokens), bindings, prepare=lambda *_: None, closed=lambda _: None)


@pytest.mark.parametrize("page", DOCUMENTED)
def test_configuration_of_the_page_lets_the_right_person_in(page: str, tmp_path: Path) -> None:
    documented, bindings = DOCUMENTED[page], Bindings(tmp_path)
    with OpenIdProvider(lambda: datetime.now(UTC), "", user=documented.user, **documented.bent) as provider:
        realm = realm_of(page, provider, tmp_path)
        provider.is_approved = True
        log_in(realm, bindings)
        with pytest.raises(RefusedError):
            log_in(realm, bindings, "bob")
        if provider.bend_userinfo is not None:
            provider.bend_userinfo |= documented.refused
        provider.bend_claims = documented.refused
        with pytest.raises(RefusedError):
            log_in(realm, bindings)


@pytest.mark.parametrize("is_configured", [True, False])
def test_other_issuer_of_the_tenant_is_the_same_person(tmp_path: Path, *, is_configured: bool) -> None:
    """The ID tokens of an older application carry the other name of the tenant."""
    with OpenIdProvider(lambda: datetime.now(UTC), "", user=DOCUMENTED["entra"].user) as provider:
        provider.is_approved, provider.member_groups, bindings = True, {"value": [GROUP]}, Bindings(tmp_path)
        base = provider.issuer
        realm = realm_of("entra", provider, tmp_path)
        log_in(realm, bindings)
        other = f"{base}/{TENANT}/"
        provider.bend_claims = {"iss": other}
        if is_configured:
            rules = Entra(graph_endpoint=base, other_issuer=other)
            log_in(Realm(realm.settings.model_copy(update={"entra": rules})), bindings)
        else:
            with pytest.raises(OpenIdError, match="iss"):
                log_in(realm, bindings)
