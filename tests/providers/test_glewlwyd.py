"""Tests the real Glewlwyd with our OpenID Provider as its second factor."""

import re
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
from providers.glewlwyd_pages import Pages
from selenium.webdriver.common.by import By
from web.looking import click, seconds_until, title
from web.pictures import Pictures


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


def test_the_steps_of_the_recipe_lead_to_a_login_in_a_browser(
    site: Site, keys: Keys, server: Glewlwyd, pictures: Pictures
) -> None:
    name, browser, pages = f"pages-{secrets.token_hex(4)}", pictures.browser, Pages(server, pictures.browser)
    recipe = site.identity.run("client", "add", name, "--for", "glewlwyd", "--redirect-uri", server.redirect_uri)
    values = dict(re.findall(r"^  (client_id|Secret|Config Endpoint URL) +(\S+)$", recipe, re.MULTILINE))
    scheme, scope = f"ssh-{name}", f"portal-{secrets.token_hex(2)}"
    pictures.set_height(1800)

    def pass_by_ssh() -> None:
        seconds_until(lambda: title(browser) == "Confirm with SSH")
        code = browser.find_element(By.ID, "command").text.split()[-1]
        done = site.sshd.ssh(keys("alice"), code)
        assert done.returncode == 0, done.stderr

    pages.sign_in("index.html", "g_admin")
    pages.open("index.html", "Parameters", "Authentication schemes")
    pages.press("Add")
    pages.choose("dropdownModType", "OAuth2 Client")
    pages.type({"mod-name": scheme, "mod-display-name": "SSH"})
    pages.press("admin.mod-oauth2-provider_list-add")
    pages.choose("mod-oauth2-provider_type", "OpenID Connect")
    pages.type({"mod-oauth2-name": "sshaft", "mod-oauth2-client_id": values["client_id"],
                "mod-oauth2-client_secret": values["Secret"],
                "mod-oauth2-config_endpoint": values["Config Endpoint URL"]})  # fmt: skip
    pictures.take("glewlwyd-provider", ".modal .card-header, #mod-oauth2-config_endpoint")
    pages.confirm("Module added")
    pages.open("index.html", "Scopes")
    pages.press("Add")
    pages.type({"scope-name": scope, "scope-display-name": "The portal", "scope-description": "The portal"})
    pages.choose("dropdownMenuButton", "SSH")
    pictures.take("glewlwyd-scope", ".modal-body")
    pages.confirm("Scope added")
    pages.open("index.html", "Users")
    pages.press("Edit")
    pages.choose("modal-edit-scope", scope)
    pages.confirm("User updated")

    pages.open("profile.html", "SSH")
    pictures.take("glewlwyd-register", "#root .card")
    pages.press("Add")
    pass_by_ssh()
    seconds_until(lambda: "profile.html" in browser.current_url)

    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    pages.sign_in("profile.html", scope)
    seconds_until(lambda: "Connect with sshaft" in browser.find_element(By.ID, "root").text)
    pictures.take("glewlwyd-login", "#root .card")
    click(browser, By.XPATH, "//button[contains(., 'Connect with sshaft')]")
    pass_by_ssh()
    seconds_until(lambda: "Continue" in browser.find_element(By.ID, "root").text)


def test_somebody_elses_ssh_is_not_the_second_factor(site: Site, keys: Keys, server: Glewlwyd) -> None:
    assert not Session(server).second_factor(Person(site, server, keys("bob")), status=401)


def test_answer_passes_once(site: Site, keys: Keys, server: Glewlwyd) -> None:
    ends: list[str] = []

    def once(address: str) -> str:
        ends.append(Person(site, server, keys("alice"))(address))
        return ends[0]

    assert Session(server).second_factor(once)
    assert not Session(server).second_factor(lambda _: ends[0], status=401)
