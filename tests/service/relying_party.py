"""Simulates a relying party: sends the browser to the OpenID Provider, redeems the code, reads the ID token."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from fakes.public_keys import ed25519
from joserfc import jwt
from joserfc.jwk import KeySet
from service.browser import Browser, code_on
from service.service import Service

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.database.tables import signing_keys
from sshaft_identity.signing.signing_keys import SigningKeys

BACK = "https://app.example.org/cb"
_rows: list[dict[str, Any]] = []


def give_rsa_key(service: Service) -> None:
    """Adds one RSA key, which a whole test run shares: making a key takes longer than most tests."""
    database = service.store.database
    if not _rows:
        SigningKeys(database, service.store.codes.key).ensure(service.clock())
        with database.read() as connection:
            _rows.extend(dict(row) for row in connection.execute(signing_keys.select()).mappings())
        return
    with database.write() as connection:
        connection.execute(signing_keys.insert(), _rows)


@dataclass
class RelyingParty:
    service: Service
    client_id: str = "shop"
    options: dict[str, Any] = field(default_factory=lambda: {"redirect_uris": [BACK], "app": "The shop"})
    pairwise_sector: str | None = None
    jwks: dict[str, Any] | None = None
    secret: str = ""
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def __post_init__(self) -> None:
        self.register()

    def register(self) -> None:
        client = Client(
            self.client_id,
            frozenset([Scope.CHALLENGES]),
            faces={"openid": self.options},
            jwks=self.jwks,
            pairwise_sector=self.pairwise_sector,
        )
        self.secret = self.service.store.clients.add(client, self.service.clock())

    def wishes(self, **more: str | None) -> dict[str, str]:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")
        usual = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": BACK,
            "scope": "openid profile",
            "state": "the state",
            "nonce": "the nonce",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in (usual | more).items() if value is not None}

    def ask(self, browser: Browser, **more: str | None) -> requests.Response:
        return browser.get(f"/oauth2/authorize?{urlencode(self.wishes(**more))}")

    def begin(self, browser: Browser, **more: str | None) -> tuple[str, str]:
        """Begins a login. Returns its page and the code on the page."""
        answer = self.ask(browser, **more)
        assert answer.status_code == 303, answer.text
        page = answer.headers["Location"]
        assert page.startswith("/login/"), page
        return page, code_on(browser.get(page))

    def log_in(self, browser: Browser, user: str, fingerprint: str, **more: str | None) -> dict[str, str]:
        """Logs in by ssh. Returns the values that come back to the redirect_uri."""
        page, code = self.begin(browser, **more)
        passed = self.service.accept(user, code=code, fingerprint=fingerprint, confirmed=True)
        assert passed.status_code == 200, passed.text
        return back(browser.get(f"{page}/finish"))

    def redeem(self, code: str, **more: str | None) -> requests.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": self.verifier}
        form = {name: value for name, value in (form | more).items() if value is not None}
        return self.service.call("POST", "/oauth2/token", data=form, auth=(self.client_id, self.secret))

    def claims(self, token: str) -> dict[str, Any]:
        keys = KeySet.import_key_set(self.service.call("GET", "/.well-known/jwks.json").json())
        decoded = jwt.decode(token, keys, algorithms=["RS256"])
        assert decoded.header["typ"] == "JWT"
        return decoded.claims


def back(answer: requests.Response) -> dict[str, str]:
    """Returns the values that the browser brings to the client."""
    assert answer.status_code == 303, answer.text
    url = urlsplit(answer.headers["Location"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == BACK
    return dict(parse_qsl(url.query))


# --- fixtures


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    give_rsa_key(service)
    return service.add_user("alice", ed25519("alice"))[0]


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


@pytest.fixture
def shop(service: Service) -> RelyingParty:
    return RelyingParty(service)
