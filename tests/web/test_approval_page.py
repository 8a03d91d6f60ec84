"""Tests the page of an approval in a real browser: with and without scripts, on a phone, in dark colours, with axe."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from fakes import pseudo_language
from fakes.openid_provider import CLIENT_ID, OpenIdProvider
from fakes.public_keys import ed25519
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.axe import page_faults
from web.looking import (
    NO_SCRIPTS,
    click,
    latin_words,
    seconds_until,
    title,
)
from web.pictures import Pictures, folder
from web.served import Identity, command, serving

from sshaft.public_key import parse

HERE, ELSEWHERE = "127.0.0.1", "203.0.113.5"
KEY = parse(ed25519("laptop")).fingerprint


@dataclass(frozen=True)
class Host:
    """The client of a host at the running service."""

    site: Identity
    secret: str

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        form = {"grant_type": "client_credentials", "client_id": "build-1", "client_secret": self.secret}
        token = requests.post(f"{self.site.url}/oauth2/token", data=form, timeout=20).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.site.url}/api/v1/approvals{path}"
        return requests.request(method, url, json=body, headers=headers, timeout=20)

    def open(self, **more: Any) -> dict[str, str]:
        asked = {"host": "build-1.example.org", "service": "sshd", "account": "alice", "user": "alice",
                 "client_ip": HERE, "key_fingerprint": KEY}  # fmt: skip
        answer = self.call("POST", "", asked | more)
        assert answer.status_code == 201, answer.text
        opened: dict[str, str] = answer.json()
        return opened | {"page": self.site.url + opened["page"][opened["page"].index("/approve/") :]}

    def verify(self, opened: dict[str, str], digits: str) -> requests.Response:
        return self.call("POST", f"/{opened['id']}/verify", {"code": digits})

    def end(self, opened: dict[str, str], outcome: str) -> None:
        assert self.call("POST", f"/{opened['id']}/end", {"outcome": outcome}).status_code == 204


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    with OpenIdProvider(lambda: datetime.now(UTC), "", public=True) as provider:
        yield provider


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, provider: OpenIdProvider) -> Iterator[Host]:
    """Starts a service with an OpenID Provider and a table of network owners. It speaks a made-up language, too."""
    directory = tmp_path_factory.mktemp("approvals") / "directory"
    command(directory, "init", "--listen", "127.0.0.1:0", "--ssh-host", "login.example.org")
    (directory / "networks").write_text("203.0.113.0/24 Example Telecom\n")
    path = directory / "identity.json"
    oidc = {"issuer": provider.issuer, "client_id": CLIENT_ID, "label": "Example University"}
    more = {"oidc": oidc, "networks": "networks", "approval_limits": {"person": 1000},
            "languages": "languages"}  # fmt: skip
    pseudo_language.write_catalogue(directory / "languages")
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    command(directory, "user", "add", "alice")
    command(directory, "key", "add", "alice", key_file(directory))
    added = command(directory, "client", "add", "build-1", "--scope", "approvals", "--json")
    with serving(directory, KEY) as site:
        provider.redirect_uri = f"{site.url}/sign-in/oidc/callback"
        yield Host(site, json.loads(added)["client_secret"])


def key_file(directory: Path) -> str:
    path = directory / "laptop.pub"
    path.write_text(f"{ed25519('laptop')} laptop\n")
    return str(path)


def press(browser: WebDriver, text: str) -> None:
    click(browser, By.XPATH, f'//*[self::a or self::button][contains(., "{text}")]')


def sign_in(browser: WebDriver) -> None:
    """Signs in on the page, by the provider, which asks nothing."""
    press(browser, "Sign in with Example University")
    seconds_until(lambda: title(browser) not in ("Do you want to log in here?", "Sign in again"))


def digits_on(browser: WebDriver) -> str:
    return browser.find_element(By.ID, "digits").text.replace(" ", "").replace("\n", "")


def approve(browser: WebDriver) -> str:
    press(browser, "Approve")
    seconds_until(lambda: title(browser) == "Type these digits into ssh")
    return digits_on(browser)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_person_approves_and_follows_the_login(host: Host, browse: Callable[..., WebDriver], *, scripts: bool) -> None:
    browser = browse(preferences={} if scripts else NO_SCRIPTS)
    opened = host.open()
    browser.get(opened["page"])
    assert title(browser) == "Do you want to log in here?"
    sign_in(browser)
    assert browser.current_url == opened["page"]
    text = browser.find_element(By.CSS_SELECTOR, ".facts").text
    assert [each in text for each in ("build-1.example.org", "build-1", "sshd", HERE, "laptop")] == [True] * 5
    digits = approve(browser)
    assert len(digits) == 6
    wrong = host.verify(opened, f"{(int(digits) + 1) % 10**6:06}")
    assert wrong.json()["tries_left"] == 2
    seconds_until(lambda: "2 tries left" in browser.find_element(By.TAG_NAME, "main").text)
    assert host.verify(opened, digits).status_code == 200
    seconds_until(lambda: title(browser) == "The digits were right")
    host.end(opened, "passed")
    seconds_until(lambda: title(browser) == "You are logged in")


def test_person_signs_in_by_ssh(host: Host, browser: WebDriver) -> None:
    opened = host.open()
    browser.get(opened["page"])
    press(browser, "Sign in with SSH")
    seconds_until(lambda: len(browser.find_element(By.ID, "command").text.rpartition(" ")[2]) == 8)
    code = browser.find_element(By.ID, "command").text.rpartition(" ")[2]
    body = {"code": code, "fingerprint": KEY, "confirmed": True}
    assert host.site.post("/api/v1/mfa/ssh/accept", body).status_code == 200
    seconds_until(lambda: title(browser) == "Approve this SSH login?")
    assert host.verify(opened, approve(browser)).json()["amr"] == ["swk", "pop"]


def test_person_at_another_address_has_to_confirm(host: Host, browser: WebDriver) -> None:
    opened = host.open(client_ip=ELSEWHERE)
    browser.get(opened["page"])
    sign_in(browser)
    assert "Example Telecom" in browser.find_element(By.CSS_SELECTOR, ".facts").text
    press(browser, "Approve")
    assert title(browser) == "Approve this SSH login?", "the browser wants the box to be ticked"
    browser.find_element(By.NAME, "confirmed").click()
    assert len(approve(browser)) == 6


@pytest.mark.parametrize(
    ("button", "then"), [("Deny", "Denied"), ("I don't know this", "Denied and reported")], ids=["deny", "report"]
)
def test_person_denies(host: Host, browser: WebDriver, button: str, then: str) -> None:
    opened = host.open()
    browser.get(opened["page"])
    sign_in(browser)
    press(browser, button)
    seconds_until(lambda: title(browser) == then)
    assert host.verify(opened, "000000").status_code == 409


def test_page_hears_that_ssh_went_away(host: Host, browser: WebDriver) -> None:
    opened = host.open()
    browser.get(opened["page"])
    sign_in(browser)
    host.end(opened, "gone")
    assert seconds_until(lambda: title(browser) == "The SSH login is over") < 10


def test_pictures_of_an_approval(host: Host, browser: WebDriver, tmp_path: Path) -> None:
    pictures = Pictures(browser, folder(tmp_path), width=760, most_bytes=120_000)
    browser.get(host.open(client_ip=ELSEWHERE)["page"])
    sign_in(browser)
    pictures.take("approval")
    browser.find_element(By.NAME, "confirmed").click()
    approve(browser)
    pictures.take("approval-digits")


PAGES = ["sign in", "asked", "other address", "not confirmed", "approved", "wrong digits", "sign in again", "verified",
         "passed", "denied", "reported", "ended", "tried out", "other person", "unknown"]  # fmt: skip


def show(page: str, host: Host, browser: WebDriver) -> None:
    long = {"account": "a-very-long-account-" + "w" * 60, "host": "h" * 60 + ".example.org"}
    elsewhere = page in ("other address", "not confirmed")
    opened = host.open(**long, client_ip=ELSEWHERE if elsewhere else HERE)
    if page == "other person":
        opened = host.open(user="bob")
    browser.delete_all_cookies()
    browser.get(f"{host.site.url}/approve/nosuch" if page == "unknown" else opened["page"])
    if page in ("sign in", "unknown"):
        return
    sign_in(browser)
    if page == "not confirmed":
        browser.execute_script("document.querySelector('[name=confirmed]').required = false")
        press(browser, "Approve")
        seconds_until(lambda: browser.find_element(By.ID, "fault").is_displayed())
    elif page in ("denied", "reported"):
        press(browser, "Deny" if page == "denied" else "I don't know this")
        seconds_until(lambda: title(browser).startswith("Denied"))
    elif page == "ended":
        host.end(opened, "gone")
        seconds_until(lambda: title(browser) == "The SSH login is over")
    elif page not in ("asked", "other address", "other person"):
        show_approved(page, host, browser, opened)


def show_approved(page: str, host: Host, browser: WebDriver, opened: dict[str, str]) -> None:
    digits = approve(browser)
    for by in range(1, {"wrong digits": 2, "tried out": 4}.get(page, 1)):
        host.verify(opened, f"{(int(digits) + by) % 10**6:06}")
    if page in ("verified", "passed"):
        assert host.verify(opened, digits).status_code == 200
    if page == "passed":
        host.end(opened, "passed")
    if page == "sign in again":
        browser.delete_all_cookies()
        browser.get(opened["page"])
    then = {"wrong digits": "Type these digits into ssh", "tried out": "Denied", "verified": "The digits were right",
            "passed": "You are logged in", "sign in again": "Sign in again"}  # fmt: skip
    if page in then:
        seconds_until(lambda: title(browser) == then[page])
    if page == "wrong digits":
        seconds_until(lambda: browser.find_element(By.ID, "wrong").is_displayed())


@pytest.mark.parametrize("page", PAGES)
def test_page_is_accessible(host: Host, used_browser: WebDriver, page: str) -> None:
    browser = used_browser
    show(page, host, browser)
    assert page_faults(browser, host.site.url) == []
    complaints = [each["message"] for each in browser.get_log("browser")]  # type: ignore[attr-defined]
    assert [each for each in complaints if "the server responded with a status of 40" not in each] == []


VALUES = ("a-very-long-account-", "w" * 60, "h" * 60, "example.org", "build-1", "sshd", "alice", "laptop",
          "Example University", "Example Telecom")  # fmt: skip
"""What no catalogue translates."""


@pytest.mark.parametrize("tag", ["de", pseudo_language.TAG])
def test_page_in_another_language_is_accessible(host: Host, used_browser: WebDriver, tag: str) -> None:
    browser = used_browser
    for page in PAGES:
        if page == "not confirmed":
            continue  # it answers a form, and has no address
        show(page, host, browser)
        browser.get(f"{browser.current_url}?ui_locales={tag}")
        assert page_faults(browser) == [], page
        if tag == pseudo_language.TAG:
            assert latin_words(browser, VALUES) == set(), page
