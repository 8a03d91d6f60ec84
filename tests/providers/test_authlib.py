"""Tests our OpenID Provider with the real Authlib: discovery, PKCE, client authentication and ID token."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken, UserInfo
from authlib.oidc.discovery import OpenIDProviderMetadata
from e2e.conftest import Keys, Site
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from providers.apache import command_words

BACK = "https://app.example.org/cb"
MakeClient = Callable[..., OAuth2Session]


@pytest.fixture
def metadata(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # loopback
    answer = requests.get(f"{site.identity.url}/.well-known/openid-configuration", timeout=10)
    document: dict[str, Any] = answer.json()
    return document


def add(site: Site, *more: str) -> tuple[str, str]:
    """Returns the name and the secret of a new client."""
    name = f"authlib-{secrets.token_hex(4)}"
    printed = site.identity.run("client", "add", name, "--for", "generic-oidc", "--redirect-uri", BACK, *more)
    return name, printed.splitlines()[1].split()[1]


def log_in(site: Site, key: Path, session: OAuth2Session, metadata: dict[str, Any], **more: str) -> dict[str, Any]:
    """Logs in with a browser and ssh. Returns the tokens."""
    verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    address, state = session.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce, **more
    )
    browser = requests.Session()
    browser.trust_env = False
    page = browser.get(address, timeout=10)
    done = site.sshd.ssh(key, command_words(page))
    assert done.returncode == 0, done.stderr
    answer = browser.get(f"{page.url}/finish", allow_redirects=False, timeout=10)
    back = urljoin(page.url, answer.headers["Location"])
    tokens = session.fetch_token(
        metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier
    )
    return {**tokens, "nonce": nonce}


def claims_of(metadata: dict[str, Any], client: str, tokens: dict[str, Any], **more: Any) -> CodeIDToken:
    keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=10).json())
    token = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"])
    wanted = {
        "iss": {"essential": True, "value": metadata["issuer"]},
        "aud": {"essential": True, "value": client},
        "nonce": {"essential": True, "value": tokens["nonce"]},
    }
    known = {"nonce": tokens["nonce"], "access_token": tokens["access_token"], **more}
    claims = CodeIDToken(token.claims, token.header, wanted, known)
    claims.validate()  # at_hash, auth_time and max_age among others
    return claims


def test_metadata_is_valid(metadata: dict[str, Any]) -> None:
    checked = OpenIDProviderMetadata(metadata)
    for name in OpenIDProviderMetadata.REGISTRY_KEYS:
        if name.endswith("_endpoint") or name == "issuer":
            continue  # they must be https, and are loopback here
        getattr(checked, f"validate_{name}", lambda: None)()


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_code_flow_passes_with_a_secret(site: Site, keys: Keys, metadata: dict[str, Any], method: str) -> None:
    client, secret = add(site)
    with OAuth2Session(
        client, secret, method, scope="openid profile", redirect_uri=BACK, code_challenge_method="S256"
    ) as session:
        tokens = log_in(site, keys("alice"), session, metadata, login_hint="alice", max_age="300")
        claims = claims_of(metadata, client, tokens, max_age=300)
        assert (claims["sub"], claims["acr"], claims["amr"]) == ("alice", "urn:sshaft:acr:code", ["swk", "pop"])
        person = UserInfo(session.get(metadata["userinfo_endpoint"]).json())
        assert (person["sub"], person["preferred_username"]) == ("alice", "alice")


def test_code_flow_passes_with_private_key_jwt(site: Site, keys: Keys, metadata: dict[str, Any]) -> None:
    key = ECKey.generate_key("P-256", {"kid": "one"})
    file = site.identity.directory / f"jwks-{secrets.token_hex(4)}.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    file.chmod(0o644)
    client, _ = add(site, "--jwks", str(file))
    with OAuth2Session(
        client, key, "private_key_jwt", scope="openid", redirect_uri=BACK, code_challenge_method="S256"
    ) as session:
        session.register_client_auth_method(PrivateKeyJWT(metadata["token_endpoint"], alg="ES256"))
        assert claims_of(metadata, client, log_in(site, keys("bob"), session, metadata))["sub"] == "bob"
