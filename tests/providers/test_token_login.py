"""Tests the login with access tokens of the real oidc-provider of npm and of Glewlwyd, with the real sshd and ssh."""

import time
from typing import Any

import pytest
import requests
from providers import test_host_login_glewlwyd, test_host_login_oidc_provider
from providers.glewlwyd import CLIENT, SECRET
from providers.oidc_provider import OidcProvider

from sshaft_demo.host import Terminal
from sshaft_oidc.provider import s256

AUDIENCE = "https://web1.example.org"
PROMPT = "Access Token:"
VERIFIER = "v" * 64
Host = test_host_login_oidc_provider.Host | test_host_login_glewlwyd.Host

oidc_provider = test_host_login_oidc_provider.host
glewlwyd = test_host_login_glewlwyd.host


def begun(url: str, **form: str) -> dict[str, Any]:
    """Returns a device login that a program of the person has begun."""
    answer = requests.post(
        url, data={"code_challenge_method": "S256", "code_challenge": s256(VERIFIER)} | form, timeout=10
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def redeemed(url: str, device_code: str, auth: tuple[str, str] | None = None, **form: str) -> str:
    """Returns the access token of a device login that the person has approved."""
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device_code}
    time.sleep(1)  # the interval
    answer = requests.post(url, data=grant | {"code_verifier": VERIFIER} | form, auth=auth, timeout=10)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def token_of(provider: OidcProvider, user: str, resource: str = "") -> str:
    issuer, more = provider.issuer, {"resource": resource} if resource else {}
    form = {"client_id": "public", "scope": "openid profile ssh" if resource else "openid profile"}
    device = begun(f"{issuer}/device/auth", **form, **more)
    provider.approve(device["verification_uri_complete"], user)
    return redeemed(f"{issuer}/token", device["device_code"], client_id="public", **more)


def glewlwyd_token(host: test_host_login_glewlwyd.Host) -> str:
    auth = (CLIENT, SECRET)
    form = {"client_id": CLIENT, "scope": "openid", "code_challenge_method": "S256", "code_challenge": s256(VERIFIER)}
    answer = requests.post(f"{host.issuer}/device_authorization", data=form, auth=auth, timeout=10)
    assert answer.status_code == 200, answer.text
    host.server.approve(host.place.person, CLIENT, answer.json()["user_code"])
    return redeemed(f"{host.issuer}/token", answer.json()["device_code"], auth)


def begin(host: Host, token: str) -> Terminal:
    """Gives ssh the token, in parts if it is long."""
    terminal = Terminal(host.sshd.command(host.place.person, "echo in"))
    for start in range(0, len(token), 900):
        part = token[start : start + 900]
        terminal.wait_for(PROMPT)
        terminal.type(part + ("\\" if start + 900 < len(token) else "") + "\n")
    return terminal


def log_in(host: Host, token: str) -> tuple[list[str], int]:
    """Returns what ssh says, and its exit status."""
    said, status = begin(host, token).end()
    return said.split(), status


def refuses(host: Host, token: str) -> bool:
    terminal = begin(host, token)
    said = terminal.wait_for("Reference")
    terminal.kill()
    return "not accepted" in said


def entry(issuer: str, **members: Any) -> dict[str, Any]:
    return {"issuer": issuer, "audience": AUDIENCE, "allow": {"everyone": True}} | members


def asked(issuer: str, form: str) -> dict[str, Any]:
    secret = {"client_id": "hosts", "client_secret": SECRET} if form == "introspection" else {}
    members = entry(issuer, form=form, any_audience=True, **secret)
    del members["audience"]
    return members


def test_jwt_of_oidc_provider_gets_a_shell(oidc_provider: test_host_login_oidc_provider.Host) -> None:
    host, person = oidc_provider, oidc_provider.place.person
    host.configure(tokens=[entry(host.provider.issuer, claim="username", scopes=["ssh"])])
    token = token_of(host.provider, person, AUDIENCE)
    assert token.count(".") == 2
    assert log_in(host, token) == (["in"], 0), host.place.log("agent")


def test_jwt_of_oidc_provider_that_is_for_somebody_else_opens_nothing(
    oidc_provider: test_host_login_oidc_provider.Host,
) -> None:
    host, person = oidc_provider, oidc_provider.place.person
    host.configure(tokens=[entry(host.provider.issuer, claim="username")])
    for token in (
        token_of(host.provider, person, "https://web2.example.org"),
        token_of(host.provider, "mallory", AUDIENCE),
        token_of(host.provider, person),
    ):
        assert refuses(host, token)


@pytest.mark.parametrize("form", ["introspection", "userinfo"])
def test_opaque_token_of_oidc_provider_gets_a_shell(
    oidc_provider: test_host_login_oidc_provider.Host, form: str
) -> None:
    host, person = oidc_provider, oidc_provider.place.person
    host.configure(tokens=[asked(host.provider.issuer, form)])
    assert log_in(host, token_of(host.provider, person)) == (["in"], 0), host.place.log("agent")
    assert refuses(host, token_of(host.provider, "mallory"))


@pytest.mark.parametrize("form", ["jwt", "introspection", "userinfo"])
def test_token_of_glewlwyd_gets_a_shell(glewlwyd: test_host_login_glewlwyd.Host, form: str) -> None:
    """Its `aud` is the list of the scopes."""
    client = {"client_id": CLIENT, "client_secret": SECRET} if form == "introspection" else {}
    glewlwyd.configure(tokens=[entry(glewlwyd.issuer, audience="openid", form=form, claim="username", **client)])
    assert log_in(glewlwyd, glewlwyd_token(glewlwyd)) == (["in"], 0), glewlwyd.place.log("agent")
