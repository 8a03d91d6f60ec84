"""Tests the real Glewlwyd with our OpenID Provider as its second factor."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from e2e.conftest import Keys, Site
from providers import glewlwyd
from providers.apache import command_words
from providers.glewlwyd import Glewlwyd, Session


@dataclass
class Person:
    """Follows the provider to our page, and passes the login by ssh with a key."""

    site: Site
    server: Glewlwyd
    key: Path

    def __call__(self, address: str) -> str:
        browser = requests.Session()
        browser.trust_env = False
        page = browser.get(address, timeout=30)
        self.site.sshd.ssh(self.key, command_words(page))
        answer = browser.get(f"{page.url}/finish", allow_redirects=False, timeout=30)
        end = urljoin(page.url, answer.headers["Location"])
        assert end.startswith(self.server.redirect_uri), end
        return end


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glewlwyd]:
    """Sets Glewlwyd up with the recipe, and registers its person as alice."""
    with glewlwyd.running(tmp_path_factory.mktemp("glewlwyd")) as server:
        wanted = ("--for", "glewlwyd", "--redirect-uri", server.redirect_uri)
        name = f"glewlwyd-{secrets.token_hex(4)}"
        secret = site.identity.run("client", "add", name, *wanted).splitlines()[1].split()[1]
        server.set_up(site.identity.url, name, secret)
        yield server


def test_session_opens_after_password_and_ssh(site: Site, keys: Keys, server: Glewlwyd) -> None:
    alice = Person(site, server, keys("alice"))
    session = Session(server)
    session.register(alice)
    assert not Session(server).is_passed
    session = Session(server)
    assert session.second_factor(alice), server.log.read_text()
    assert session.is_passed


def test_somebody_elses_ssh_is_not_the_second_factor(site: Site, keys: Keys, server: Glewlwyd) -> None:
    assert not Session(server).second_factor(Person(site, server, keys("bob")), status=401)


def test_answer_passes_once(site: Site, keys: Keys, server: Glewlwyd) -> None:
    ends: list[str] = []

    def once(address: str) -> str:
        ends.append(Person(site, server, keys("alice"))(address))
        return ends[0]

    assert Session(server).second_factor(once)
    assert not Session(server).second_factor(lambda _: ends[0], status=401)
