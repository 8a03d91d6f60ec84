"""Tests CIBA with the real openid-client of npm, a real sshd and a real ssh."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from e2e.conftest import Keys, Site
from fakes.notified import Endpoint
from providers.openid_client import OpenIdClient, installed
from web.looking import seconds_until

CODE = "482913"
Begin = Callable[..., OpenIdClient]


@pytest.fixture
def name() -> str:
    return f"bank-{secrets.token_hex(4)}"


@pytest.fixture
def begin(site: Site, name: str, tmp_path: Path) -> Iterator[Begin]:
    installed()
    printed = site.identity.run("client", "add", name, "--for", "generic-ciba", "--app", "The bank")
    values = {"ISSUER": site.identity.url, "CLIENT_ID": name, "CLIENT_SECRET": printed.splitlines()[1].split()[1]}
    begun: list[OpenIdClient] = []

    def begin(**more: str) -> OpenIdClient:
        wishes = {"LOGIN_HINT": "alice", "BINDING_MESSAGE": CODE} | more
        begun.append(OpenIdClient.begin(tmp_path, values | wishes))
        return begun[-1]

    yield begin
    for each in begun:
        if each.process.poll() is None:
            each.process.kill()
            each.close()


@pytest.mark.parametrize("proof", ["post", "basic"])
def test_login_passes_by_the_code_that_the_client_chose(
    site: Site, keys: Keys, name: str, begin: Begin, proof: str
) -> None:
    client = begin(CLIENT_AUTH=proof)
    started = client.read_line()
    assert (started["expires_in"], started["interval"]) == (300, 5)
    other = site.sshd.ssh(keys("alice"), "482914")
    assert "That is not the code" in other.stderr
    done = site.sshd.ssh(keys("alice"), CODE)
    assert done.returncode == 0, done.stderr
    assert "Login to The bank" in done.stderr + done.stdout
    claims = client.read_line()
    assert (claims["iss"], claims["aud"], claims["sub"]) == (site.identity.url, name, "alice")
    assert (claims["acr"], claims["amr"]) == ("urn:sshaft:acr:code", ["swk", "pop"])
    assert client.read_line() == {"sub": "alice", "preferred_username": "alice"}
    assert client.close() == 0


def test_login_denied_from_ssh_gives_access_denied(site: Site, keys: Keys, begin: Begin) -> None:
    client = begin(LOGIN_HINT="bob")
    client.read_line()
    site.sshd.ssh(keys("bob"), "deny")
    assert client.read_line() == {"error": "access_denied"}
    assert client.close() == 2


def test_words_are_refused_without_allow_unbound(begin: Begin) -> None:
    client = begin(BINDING_MESSAGE="Pay 10 to Bob")
    assert client.read_line() == {"error": "invalid_binding_message"}
    assert client.close() == 2


def test_client_is_notified_of_its_ended_login(site: Site, keys: Keys, name: str) -> None:
    with Endpoint() as endpoint:
        printed = site.identity.run("client", "add", name, "--for", "generic-ciba", "--notify", endpoint.url)
        proof = name, printed.splitlines()[1].split()[1]
        where = requests.get(f"{site.identity.url}/.well-known/openid-configuration", timeout=10).json()
        form = {
            "scope": "openid",
            "login_hint": "alice",
            "binding_message": "73920184",
            "client_notification_token": "to-be-known-by",
        }
        address = where["backchannel_authentication_endpoint"]
        handle = requests.post(address, data=form, auth=proof, timeout=10).json()["auth_req_id"]
        done = site.sshd.ssh(keys("alice"), "73920184")
        assert done.returncode == 0, done.stderr
        seconds_until(lambda: bool(endpoint.heard))
        assert endpoint.heard == [("/ping", "Bearer to-be-known-by", {"auth_req_id": handle})]
        grant = {"grant_type": "urn:openid:params:grant-type:ciba", "auth_req_id": handle}
        tokens = requests.post(where["token_endpoint"], data=grant, auth=proof, timeout=10).json()
        assert "id_token" in tokens
