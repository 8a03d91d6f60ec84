"""Tests the help desk in a real browser: with and without scripts, on a phone, in dark colours, for screen readers."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fakes import pseudo_language
from fakes.public_keys import ed25519, sk_ed25519
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.axe import page_faults
from web.looking import (
    NO_SCRIPTS,
    seconds_until,
    title,
)
from web.served import Identity, command, serving
from web.test_account_pages import code_on, pass_it, press, sign_in

from sshaft.public_key import parse
from sshaft_identity.challenges.limits import WINDOW, Scope
from sshaft_identity.commands.shared import open_store
from sshaft_identity.database.tables import failures, sessions
from sshaft_identity.settings import load

LONG = "l" + "o" * 57 + "ng.bob"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    """Starts a service whose help desk is alice. It speaks a made-up language, too."""
    directory = tmp_path_factory.mktemp("desk") / "directory"
    command(directory, "init", "--listen", "127.0.0.1:0", "--ssh-host", "login.example.org")
    path = directory / "identity.json"
    roles = {"desk": {"users": ["alice"]}, "may_invite": True}
    pseudo_language.write_catalogue(directory / "languages")
    more = {"desk": roles, "languages": "languages"}
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    key, now = parse(ed25519("alice")), datetime.now(UTC)
    with open_store(directory, load(directory)) as store:
        for name, keys in (("alice", [key]), (LONG, [parse(sk_ed25519("bob")), parse(ed25519("bob"))])):
            store.users.add(name, now)
            store.keys.add(name, [(each, "A key with a long name " + "w" * 60) for each in keys], now)
    with serving(directory, key.fingerprint) as site:
        site.post("/api/v1/challenges", {"user": LONG, "app": "A very long name of an application " + "w" * 80})
        bob = {"user": LONG, "fingerprint": parse(ed25519("bob")).fingerprint}
        assert site.post("/api/v1/mfa/ssh/accept", bob | {"code": "00000"}).status_code == 403
        yield site


def lock(site: Identity) -> None:
    with open_store(site.directory, load(site.directory)) as store, store.database.write() as connection:
        row = {"scope": Scope.USER, "subject": LONG, "times": 10, "ends_at": datetime.now(UTC) + WINDOW}
        connection.execute(failures.delete())
        connection.execute(failures.insert(), row)


def make_stale(site: Identity) -> None:
    """Makes every SSH login so old that it allows no change."""
    with open_store(site.directory, load(site.directory)) as store, store.database.write() as connection:
        connection.execute(sessions.update().values(passed_at=datetime.now(UTC) - timedelta(hours=1)))


def find(browser: WebDriver) -> None:
    """Finds the person with the long name."""
    press(browser, "Help desk")
    seconds_until(lambda: title(browser) == "Find a person")
    browser.find_element(By.NAME, "q").send_keys("LOO")
    press(browser, "Search")
    seconds_until(lambda: "LOO" in browser.find_element(By.TAG_NAME, "h2").text)
    press(browser, LONG)
    seconds_until(lambda: title(browser) == LONG)


def said(browser: WebDriver) -> str:
    return browser.find_element(By.CSS_SELECTOR, ".said").text


def confirm(site: Identity, browser: WebDriver) -> None:
    """Passes the SSH login that the help desk asks for."""
    press(browser, "Confirm with SSH")
    seconds_until(lambda: title(browser) == "Confirm with SSH")
    pass_it(site, code_on(browser))
    seconds_until(lambda: title(browser) == LONG)


def test_person_is_found_unlocked_and_invited_without_scripts(desk: Identity, browse: Callable[..., WebDriver]) -> None:
    browser = browse(preferences=NO_SCRIPTS)
    lock(desk)
    sign_in(desk, browser)
    make_stale(desk)
    find(browser)
    assert not browser.find_elements(By.XPATH, "//button[.='Unlock']"), "nothing can be changed yet"
    confirm(desk, browser)
    press(browser, "Unlock")
    seconds_until(lambda: "no longer count" in said(browser))
    press(browser, "Invite")
    seconds_until(lambda: title(browser) == "Invite this person?")
    press(browser, "Do nothing")
    seconds_until(lambda: title(browser) == LONG)
    press(browser, "Invite")
    seconds_until(lambda: title(browser) == "Invite this person?")
    press(browser, "Invite")
    seconds_until(lambda: title(browser) == "The invitation is open")
    link = browser.find_element(By.ID, "command").text
    press(browser, "Back to")
    seconds_until(lambda: "An invitation to register a key" in browser.find_element(By.TAG_NAME, "main").text)
    browser.get(link.replace("http://localhost", desk.url.rpartition(":")[0]))
    seconds_until(lambda: title(browser) == "Register an SSH key")


def test_every_page_is_accessible(desk: Identity, used_browser: WebDriver) -> None:
    browser = used_browser
    lock(desk)
    sign_in(desk, browser)
    find(browser)
    person = browser.current_url
    for page in ("/desk", "/desk?q=l", person, "question", "/desk/waiting", "/desk/clients", "stale"):
        match page:
            case "question":
                browser.get(person)
                press(browser, "Remove all keys")
                seconds_until(lambda: title(browser) == "Remove all keys?")
            case "stale":
                make_stale(desk)
                browser.get(person)
            case _:
                browser.get(page if page == person else desk.url + page)
        assert page_faults(browser, desk.url) == [], page
        assert browser.get_log("browser") == [], page  # type: ignore[attr-defined]
    confirm(desk, browser)
    assert "For ten minutes" in said(browser)
