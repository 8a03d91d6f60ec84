"""Tests `sshaft web` at the real oidc-provider of npm, with the real sshd, PAM, agent and host API."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from providers.oidc_provider import SECRET, OidcProvider
from providers.openid_client import installed

from sshaft_demo.host import MODULE, HostSshd
from sshaft_demo.parts import Agent, HostApi, Web, free_port, wait_for
from sshaft_demo.place import AGENT, WEB, Place
from sshaft_demo.web_client import WebBrowser

AUDIENCE = "https://web1.example.org"


@dataclass
class Site:
    place: Place
    provider: OidcProvider
    web: Web
    unrenewed: Web
    """The same, for a client that gets no refresh tokens."""

    def browser(self, web: Web | None = None) -> WebBrowser:
        url = (web or self.web).url
        browser = WebBrowser(url)
        page = self.provider.walk(browser.http, f"{url}/sign-in", self.place.person)
        assert page.url == f"{url}/", page.text
        return browser


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    installed()
    with Place() as place, running(place) as site:
        yield site


@contextmanager
def running(place: Place) -> Iterator[Site]:
    port, other = free_port(), free_port()
    provider = OidcProvider(place, free_port(), f"http://127.0.0.1:{port}", f"http://127.0.0.1:{other}")
    config, secret = place.directory / "config.json", place.directory / "web-secret"
    tokens = [{"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}, "claim": "username"}]
    state = str(place.folder("state", AGENT, 0o700))
    config.write_text(json.dumps({"host_login": {"tokens": tokens, "state_directory": state}}))
    agent = Agent(place, config)
    api = HostApi(place, agent.runtime)
    sshd = HostSshd(place, agent.runtime / "host" / "agent.sock", free_port(), "PubkeyAuthentication yes\n")
    secret.write_text(SECRET)
    place.give(secret, WEB, 0o400)
    client = {"issuer": provider.issuer, "client_id": "web", "client_secret_file": str(secret), "audience": AUDIENCE,
              "scopes": ["openid", "profile", "ssh"]}  # fmt: skip
    host = {"host": "127.0.0.1", "port": sshd.port, "api": api.url, "known_hosts": str(place.known_hosts)}
    settings = {"public_url": provider.web_url, "provider": client, "targets": {"host": host}}
    opaque = {"issuer": provider.issuer, "client_id": "unrenewed", "client_secret_file": str(secret)}
    without_api = {"host": {name: value for name, value in host.items() if name != "api"}}
    without_renewal = {"public_url": provider.unrenewed_url, "provider": opaque, "targets": without_api,
                       "limits": {"revocation_seconds": 1}}  # fmt: skip
    webs = Web(place, settings, port), Web(place, without_renewal, other, "web-unrenewed")
    yield Site(place, provider, *webs)


def test_person_works_in_a_terminal_until_the_provider_signs_them_out(site: Site) -> None:
    browser = site.browser()
    other = site.browser()
    page = browser.attach(browser.open())
    assert page.wait_until("open")["account"] == site.place.person
    page.type("echo i''n\n")
    page.wait_for("in\r\n")
    site.provider.sign_out(browser.http)
    assert page.wait_for_end() == 4001
    assert [each["logout"] for each in site.provider.events() if "logout" in each] == ["success"]
    assert other.terminals() == [], "another sign-in of the person goes on"


def test_sign_out_revokes_the_tokens_at_the_provider(site: Site) -> None:
    browser = site.browser()
    browser.open()
    assert browser.post("/sign-out").status_code == 303
    assert {"ended": "refresh_token"} in site.provider.events()


def test_end_of_the_grant_ends_a_terminal_whose_token_is_not_renewed(site: Site) -> None:
    """oidc-provider revokes the grant of a person who signs out, and knows no back-channel address of this client."""
    browser, other = site.browser(site.unrenewed), site.browser(site.unrenewed)
    pages = [each.attach(each.open(user=site.place.person)) for each in (browser, other)]
    for page in pages:
        page.wait_for("Token:")
    wait_for(lambda: asked(site) >= 2, site.unrenewed.process, site.provider.log, "the first answers")
    site.provider.sign_out(browser.http)
    assert pages[0].wait_for_end() == 4001
    assert other.terminals(), "another sign-in of the person goes on"


def asked(site: Site) -> int:
    """Returns how often the provider was asked about a token."""
    return len([each for each in site.provider.events() if each.get("path") == "/token/introspection"])
