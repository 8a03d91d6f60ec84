"""Looks at the pages of the account and of the help desk in German, and in a language from right to left."""

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from fakes import pseudo_language
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from sqlalchemy import select
from web.axe import page_faults
from web.looking import (
    latin_words,
    seconds_until,
)
from web.served import Identity
from web.test_account_pages import sign_in
from web.test_help_desk import LONG, desk, lock, make_stale  # noqa: F401 - a fixture

from sshaft_identity.approvals.approval import Asked, State
from sshaft_identity.approvals.approvals import Opened
from sshaft_identity.approvals.limits import ApprovalLimits
from sshaft_identity.challenges.limits import WINDOW
from sshaft_identity.commands.shared import open_store
from sshaft_identity.database.tables import host_logins, sessions
from sshaft_identity.host_logins.entries import Kind, Reported
from sshaft_identity.settings import load

PAGES = ("keys", "renaming", "removing", "hosts", "activity", "desk", "found", "person", "waiting", "clients",
         "question", "invited", "stale")  # fmt: skip
ADDRESS = "2001:4860:4860::8888"
VALUES = (LONG, "A very long name of an application", "A key with a long name", "w" * 80, "w" * 60, "alice", "test",
          "Ed25519", "CSV", "UTC", "/127.0.0.1", "mfa:list", "mfa:accept", "challenges", "sshd",
          "example.org", ADDRESS)  # fmt: skip
"""What no catalogue translates."""


@pytest.fixture(params=("de", pseudo_language.TAG))
def shown(
    request: pytest.FixtureRequest,
    desk: Identity,  # noqa: F811
    used_browser: WebDriver,
) -> Callable[[str], WebDriver]:
    """Returns a function that shows a page in the language of the test."""
    lock(desk)
    report_logins(desk)
    desk.post("/api/v1/challenges", {"user": "alice", "app": "A very long name of an application", "ip": ADDRESS})
    sign_in(desk, used_browser)
    used_browser.get(f"{desk.url}/account/keys?ui_locales={request.param}")

    def show(page: str) -> WebDriver:
        show_page(page, desk, used_browser)
        return used_browser

    return show


def show_page(page: str, site: Identity, browser: WebDriver) -> None:
    person = f"{site.url}/desk/people/{LONG}"
    removal = f"/account/keys/remove?fingerprint={quote(site.fingerprint)}"
    paths = {
        "keys": "/account/keys?done=removed", "removing": removal, "hosts": "/account/hosts?done=ended",
        "activity": "/account/activity", "desk": "/desk",
        "found": "/desk?q=l", "waiting": "/desk/waiting", "clients": "/desk/clients",
    }  # fmt: skip
    match page:
        case "renaming":
            browser.get(f"{site.url}/account/keys")
            browser.find_element(By.TAG_NAME, "summary").click()
        case "question" | "invited":
            order(browser, person, "remove-all-keys" if page == "question" else "invite")
            if page == "invited":
                browser.find_element(By.CSS_SELECTOR, "main form button").click()
                seconds_until(lambda: bool(browser.find_elements(By.ID, "command")))
        case "person" | "stale":
            if page == "stale":
                make_stale(site)
            browser.get(f"{person}?note=nothing_locked")
            if page == "stale":
                make_fresh(site)
        case _:
            browser.get(site.url + paths[page])


def report_logins(site: Identity) -> None:
    """Reports a login of alice and of the other person at a host, and stores a remembered approval of each.

    Each has an approval that waits, and one that was reported.
    """
    now, host = datetime.now(UTC), f"{'w' * 60}.example.org"
    with open_store(site.directory, load(site.directory)) as store:
        logins = [
            Reported(Kind.SESSION, user, user, "sshd", ADDRESS, user_id=user, began_at=now) for user in ("alice", LONG)
        ]
        store.host_reports.take("test", host, logins, now)
        for user in ("alice", LONG):
            for is_over in (True, False):
                asked = Asked(host, "sshd", user, user, ADDRESS, site.fingerprint)
                opened = store.approvals.open("test", asked, ApprovalLimits(), now)
                assert isinstance(opened, Opened)
                if is_over:
                    store.approvals.refuse(opened.approval.id, State.REPORTED, now)
        remembered = {"kind": Kind.REMEMBERED, "fingerprint": site.fingerprint, "until": now + WINDOW, "used_at": now}
        with store.database.write() as connection:
            for row in connection.execute(select(host_logins)).all():
                values = row._asdict() | remembered | {"id": f"r{row.id[1:]}"}
                connection.execute(host_logins.insert(), values)


def order(browser: WebDriver, person: str, action: str) -> None:
    browser.get(person)
    browser.find_element(By.CSS_SELECTOR, f"form[action$='/{action}'] button").click()
    seconds_until(lambda: bool(browser.find_elements(By.NAME, "sure")))


def make_fresh(site: Identity) -> None:
    with open_store(site.directory, load(site.directory)) as store, store.database.write() as connection:
        connection.execute(sessions.update().values(passed_at=datetime.now(UTC)))


def test_pages_are_accessible_in_every_language(shown: Callable[[str], WebDriver]) -> None:
    for page in PAGES:
        browser = shown(page)
        assert page_faults(browser) == [], page


@pytest.mark.parametrize("shown", [pseudo_language.TAG], indirect=True)
def test_every_text_is_in_the_catalogue_and_values_stay_left_to_right(shown: Callable[[str], WebDriver]) -> None:
    for page in PAGES:
        browser = shown(page)
        assert browser.find_element(By.TAG_NAME, "html").get_attribute("dir") == "rtl"
        assert latin_words(browser, VALUES) == set(), page
        for each in browser.find_elements(By.CSS_SELECTOR, "code, bdi[dir=ltr]"):
            assert each.value_of_css_property("direction") == "ltr", each.get_attribute("outerHTML")
