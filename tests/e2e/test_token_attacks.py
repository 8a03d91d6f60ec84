"""Attacks the login with an access token, at the real agent, `sshaft host-api`, sshd and PAM, with the real ssh."""

import base64
import hashlib
import hmac
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest
import requests
from e2e.hosts import AUDIENCE, Host
from e2e.test_token_login import PROMPT, token_host
from fakes.openid_provider import OpenIdProvider, encode
from joserfc.jwk import RSAKey

from sshaft_demo.parts import HostApi
from sshaft_demo.place import Place


@dataclass
class Site:
    """A host that takes tokens of `provider`, with two processes of host-api.

    `foreign` listens where another issuer would be.
    """

    host: Host
    provider: OpenIdProvider
    url: str
    other_url: str
    foreign: socket.socket

    def get(self, path: str, token: str, url: str = "") -> requests.Response:
        return requests.get(f"{url or self.url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def verify(self, token: str, url: str = "") -> requests.Response:
        return self.get(f"/verify_user?username={self.host.place.person}", token, url)

    def is_verified(self, token: str, url: str = "") -> bool:
        return self.verify(token, url).json().get("verified") is True

    def ssh(self, token: str) -> str:
        """Returns what ssh shows after this answer to the prompt."""
        terminal = self.host.ssh("echo in")
        terminal.wait_for(PROMPT)
        terminal.type(token + "\n")
        return terminal.end()[0]

    def foreign_issuer(self) -> str:
        return f"http://127.0.0.1:{self.foreign.getsockname()[1]}"

    def foreign_connections(self) -> int:
        """Returns how many connections have come to the foreign issuer."""
        found = 0
        try:
            while True:
                self.foreign.accept()[0].close()
                found += 1
        except BlockingIOError:
            return found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with (
        OpenIdProvider(lambda: datetime.now(UTC), "") as provider,
        socket.create_server(("127.0.0.1", 0)) as foreign,
        Place() as place,
    ):
        foreign.setblocking(False)
        entry = {"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}, "admins": ["the-admin"]}
        provider.user = {"sub": "subject-1", "preferred_username": place.person}
        with token_host(place, tokens=[entry]) as host:
            urls = [HostApi(place, host.agent.runtime).url for _ in range(2)]
            site = Site(host, provider, *urls, foreign)
            assert site.get("/user/deploy", provider.access_token()).json()["state"] == "deployed"
            yield site


def test_good_token_is_verified(site: Site) -> None:
    """The attacks below fail for no other reason than what is wrong with them."""
    assert site.is_verified(site.provider.access_token())


# --- tokens that open nothing


def keyed_by(secret: bytes, provider: OpenIdProvider) -> str:
    """Returns a token with HS256, whose secret is a form of the provider's public key."""
    claims = provider.access_token().split(".")[1]
    signed = f"{encode({'alg': 'HS256', 'typ': 'at+jwt', 'kid': provider.key.kid})}.{claims}"
    return f"{signed}.{base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), 'sha256')).decode().rstrip('=')}"


def unsigned(provider: OpenIdProvider) -> str:
    claims = provider.access_token().split(".")[1]
    return f"{encode({'alg': 'none', 'typ': 'at+jwt'})}.{claims}."


def by_another_key(provider: OpenIdProvider, **header: Any) -> str:
    other = RSAKey.generate_key(2048, {"kid": provider.key.kid})
    own, provider.key = provider.key, other
    try:
        return provider.access_token({"jwk": other.as_dict(private=False)} | header)
    finally:
        provider.key = own


Make = Callable[[Site], str]
BAD: dict[str, Make] = {
    "alg none": lambda site: unsigned(site.provider),
    "HS256 with the public key as PEM": lambda site: keyed_by(site.provider.key.as_pem(private=False), site.provider),
    "HS256 with the public key as DER": lambda site: keyed_by(site.provider.key.as_der(private=False), site.provider),
    "HS256 with the modulus": lambda site: keyed_by(
        str(site.provider.key.as_dict(private=False)["n"]).encode(), site.provider
    ),
    "HS256 with nothing": lambda site: keyed_by(b"", site.provider),
    "another key, which the header brings": lambda site: by_another_key(site.provider),
    "another key at an address in the header": lambda site: by_another_key(
        site.provider, jku=f"{site.foreign_issuer()}/jwks", x5u=f"{site.foreign_issuer()}/x5u"
    ),
    "a foreign issuer": lambda site: site.provider.access_token(iss=site.foreign_issuer()),
    "the issuer with a slash": lambda site: site.provider.access_token(iss=f"{site.provider.issuer}/"),
    "the issuer as the user of a foreign one": lambda site: site.provider.access_token(
        iss=f"{site.provider.issuer}@{site.foreign_issuer().removeprefix('http://')}"
    ),
    "an ID token": lambda site: site.provider.access_token({"typ": "JWT"}),
    "another audience": lambda site: site.provider.access_token(aud="https://web2.example.org"),
    "expired": lambda site: site.provider.access_token(exp=1),
    "bound to a key by DPoP": lambda site: site.provider.access_token(
        cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
    ),
    "the one-time password of a good token that nobody has asked for": lambda site: password_of(
        site.provider.access_token()
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_token_opens_nothing(site: Site, name: str) -> None:
    """No connection goes out for it to an address that only the token names."""
    token, calls = BAD[name](site), len(site.provider.calls)
    for path in ("/user/get_status", "/user/deploy", "/user/generate_otp", "/user/suspend", "/info/authorisation"):
        assert site.get(path, token).status_code == 401
    answer = site.verify(token)
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthenticated")
    assert token not in answer.text
    said = site.ssh(token)
    assert "in\r\n" not in said
    assert site.foreign_connections() == 0
    assert set(site.provider.calls[calls:]) <= {"/jwks"}
    assert token not in site.host.place.log("agent")
    assert token not in site.host.place.log("host-api")


def test_bound_token_with_its_scheme_and_a_proof_is_refused_too(site: Site) -> None:
    """Nobody checks the proof here."""
    token = site.provider.access_token()
    headers = {"Authorization": f"DPoP {token}", "DPoP": "e30.e30.x"}
    answer = requests.get(f"{site.url}/verify_user?username={site.host.place.person}", headers=headers, timeout=30)
    assert answer.status_code == 401


# --- one-time passwords


def password_of(token: str) -> str:
    return hashlib.sha512(token.encode()).hexdigest()


def test_of_many_logins_and_connections_to_two_processes_one_uses_the_one_time_password(site: Site) -> None:
    """Both processes of host-api ask the same agent, which alone has the passwords."""
    token = site.provider.access_token()
    assert site.get("/user/generate_otp", token).json() == {"supported": True, "successful": True}
    terminals = [site.host.ssh("echo in") for _ in range(2)]
    for terminal in terminals:
        terminal.wait_for(PROMPT)
    barrier = Barrier(14)

    def by_http(number: int) -> bool:
        barrier.wait()
        return site.is_verified(password_of(token), site.other_url if number % 2 else site.url)

    def by_ssh(number: int) -> bool:
        barrier.wait()
        terminals[number].type(password_of(token) + "\n")
        return "in\r\n" in terminals[number].end()[0]

    with ThreadPoolExecutor(14) as threads:
        tries = [threads.submit(by_http, number) for number in range(12)]
        tries += [threads.submit(by_ssh, number) for number in range(2)]
        assert sum(each.result() for each in tries) == 1
    assert site.verify(password_of(token)).status_code == 401
    assert "in\r\n" not in site.ssh(password_of(token))


# --- suspension


def test_suspension_counts_at_once_for_tokens_and_passwords_that_were_good(site: Site) -> None:
    token, admin = site.provider.access_token(), site.provider.access_token(sub="the-admin")
    person = f"sub=subject-1&iss={site.provider.issuer}"
    assert site.is_verified(token)
    site.get("/user/generate_otp", token)
    assert site.get(f"/admin/suspend?{person}", admin).json()["state"] == "suspended"
    for each in (token, password_of(token), site.provider.access_token()):
        assert site.verify(each).json() == {"state": "suspended", "verified": False}
        assert "in\r\n" not in site.ssh(each)
    assert site.get("/user/deploy", token).json()["state"] == "suspended"
    assert site.get(f"/admin/resume?{person}", token).status_code == 403
    assert not site.is_verified(token)
    assert site.get(f"/admin/resume?{person}", admin).json()["state"] == "deployed"
    assert site.is_verified(token)
