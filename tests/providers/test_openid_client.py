"""Tests the real openid-client of npm as a relying party. It checks state, nonce, iss, max_age and the ID token."""

import secrets
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from e2e.conftest import Keys, Site
from providers.apache import command_words
from providers.openid_client import OpenIdClient, installed

BACK = "https://app.example.org/cb"


@pytest.fixture
def party(site: Site, tmp_path: Path) -> OpenIdClient:
    installed()
    name = f"npm-{secrets.token_hex(4)}"
    printed = site.identity.run("client", "add", name, "--for", "generic-oidc", "--redirect-uri", BACK)
    secret = printed.splitlines()[1].split()[1]
    settings = {"ISSUER": site.identity.url, "CLIENT_ID": name, "CLIENT_SECRET": secret, "REDIRECT_URI": BACK}
    return OpenIdClient.begin(tmp_path, settings, "code-flow")


def came_back(site: Site, party: OpenIdClient, key: Path, *words: str) -> str:
    """Passes the login by ssh, with these words or the code on the page. Returns the last address of the browser."""
    browser = requests.Session()
    browser.trust_env = False
    page = browser.get(party.read_line()["url"], timeout=10)
    site.sshd.ssh(key, *(words or (command_words(page),)))
    answer = browser.get(f"{page.url}/finish", allow_redirects=False, timeout=10)
    return urljoin(page.url, answer.headers["Location"])


def test_openid_client_accepts_the_answer(site: Site, keys: Keys, party: OpenIdClient) -> None:
    party.send_line(came_back(site, party, keys("alice")))
    claims = party.read_line()
    assert (claims["sub"], claims["amr"]) == ("alice", ["swk", "pop"]), claims
    assert party.read_line()["preferred_username"] == "alice"
    assert party.close() == 0


@pytest.mark.parametrize(("part", "bent"), [("state=", "state=x"), ("iss=", "iss=x"), ("code=", "code=x")])
def test_openid_client_refuses_a_changed_answer(
    site: Site, keys: Keys, party: OpenIdClient, part: str, bent: str
) -> None:
    back = came_back(site, party, keys("bob"))
    assert part in back
    party.send_line(back.replace(part, bent))
    assert "error" in party.read_line()
    assert party.close() == 2
