"""Tests sign-in, "My keys" and "My activity" in a real browser. Tests every page of the service on a phone, in dark
colours, by keyboard, for screen readers and without scripts."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fakes.openid_provider import CLIENT_ID, OpenIdProvider
from fakes.public_keys import ed25519
from fakes.security_key import Maker, SecurityKey
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from web.axe import page_faults
from web.enrolling import Guest, guest
from web.looking import (
    NO_SCRIPTS,
    click,
    force_colours,
    mark_of,
    seconds_until,
    title,
)
from web.served import Identity, command, serving

from sshaft.public_key import parse
from sshaft_identity.commands.shared import open_store
from sshaft_identity.database.tables import failures
from sshaft_identity.settings import load


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    with OpenIdProvider(lambda: datetime.now(UTC), "", public=True) as provider:
        yield provider


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, provider: OpenIdProvider) -> Iterator[Identity]:
    """Starts a service with an OpenID Provider."""
    directory = tmp_path_factory.mktemp("account") / "directory"
    command(directory, "init", "--listen", "127.0.0.1:0", "--ssh-host", "login.example.org")
    path = directory / "identity.json"
    oidc = {"issuer": provider.issuer, "client_id": CLIENT_ID, "label": "Example University"}
    (directory / "makers.pem").write_bytes(Maker().pem)
    policy = {"attestation_roots": "makers.pem"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"oidc": oidc, "key_policy": policy}))
    command(directory, "user", "add", "alice")
    with serving(directory, parse(ed25519("desk")).fingerprint) as site:
        provider.redirect_uri = f"{site.url}/sign-in/oidc/callback"
        yield site


@pytest.fixture
def site(service: Identity) -> Identity:
    """Returns the service with two keys of Alice and without counted wrong codes."""
    with open_store(service.directory, load(service.directory)) as store:
        for each in store.keys.all("alice"):
            store.revocation.remove_key(each.key.fingerprint, datetime.now(UTC))
        keys = [(parse(ed25519(name)), name) for name in ("laptop", "desk")]
        store.keys.add("alice", keys, datetime.now(UTC))
        with store.database.write() as connection:
            connection.execute(failures.delete())
    return service


def code_on(browser: WebDriver) -> str:
    return browser.find_element(By.ID, "command").text.rpartition(" ")[2]


def pass_it(site: Identity, code: str) -> None:
    body = {"code": code, "fingerprint": site.fingerprint, "confirmed": True}
    assert site.post("/api/v1/mfa/ssh/accept", body).status_code == 200


def sign_in(site: Identity, browser: WebDriver) -> None:
    browser.get(site.url)
    press(browser, "Sign in with SSH")
    seconds_until(lambda: len(code_on(browser)) == 8)
    pass_it(site, code_on(browser))
    seconds_until(lambda: title(browser) == "My keys")


def press(browser: WebDriver, text: str) -> None:
    click(browser, By.XPATH, f"//*[self::a or self::button or self::summary][contains(., '{text}')]")


# --- the sign-in


def test_ssh_login_signs_the_waiting_browser_in(site: Identity, browser: WebDriver) -> None:
    sign_in(site, browser)
    assert [each.text for each in browser.find_elements(By.TAG_NAME, "h2")] == ["desk", "laptop"]
    assert "just now" in browser.find_element(By.CSS_SELECTOR, ".key .facts").text
    assert browser.get_cookie("sshaft")["httpOnly"] is True  # type: ignore[index]
    assert browser.execute_script("return document.cookie") == ""


def test_provider_of_the_organisation_signs_the_person_in(site: Identity, browser: WebDriver) -> None:
    browser.get(site.url)
    press(browser, "Sign in with Example University")
    seconds_until(lambda: title(browser) == "My keys")
    assert "alice" in browser.find_element(By.CSS_SELECTOR, ".top .brand").text


def test_denied_or_cancelled_sign_in_offers_another_try(site: Identity, browser: WebDriver) -> None:
    browser.get(site.url)
    press(browser, "Sign in with SSH")
    seconds_until(lambda: browser.find_element(By.ID, "copy").is_displayed())
    first = code_on(browser)
    site.run("challenge", "cancel", json.loads(site.run("challenge", "list", "--json"))[0]["id"])
    seconds_until(lambda: title(browser) == "Cancelled")
    press(browser, "Try again")
    seconds_until(lambda: title(browser) == "Confirm with SSH" and code_on(browser) != first)


def test_all_pages_work_without_scripts(site: Identity, browse: Callable[..., WebDriver]) -> None:
    browser = browse(preferences=NO_SCRIPTS)
    sign_in(site, browser)
    press(browser, "Rename")
    seconds_until(lambda: browser.find_element(By.NAME, "name").is_displayed())
    field = browser.find_element(By.NAME, "name")
    field.clear()
    field.send_keys("My <i>laptop</i>")
    press(browser, "Save")
    named = (By.XPATH, "//h2[.='My <i>laptop</i>']")
    seconds_until(lambda: bool(browser.find_elements(*named)))
    press(browser, "Remove")
    press(browser, "Keep it")
    seconds_until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".key")) == 2)
    click(browser, By.XPATH, "(//a[contains(., 'Remove')])[2]")  # the first key is the one that signed in
    click(browser, By.CSS_SELECTOR, "button.danger")
    seconds_until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".key")) == 1)
    press(browser, "My activity")
    seconds_until(lambda: "A key was removed" in browser.find_element(By.TAG_NAME, "main").text)
    press(browser, "Sign out")
    seconds_until(lambda: title(browser) == "Sign in")


def test_times_are_those_of_the_persons_clock(site: Identity, browser: WebDriver) -> None:
    """Finding U15."""
    browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Pacific/Kiritimati"})  # UTC+14
    sign_in(site, browser)
    press(browser, "My activity")
    seconds_until(lambda: title(browser) == "My activity")
    times = browser.find_elements(By.TAG_NAME, "time")
    assert times
    for each in times:
        here = datetime.fromisoformat(each.get_attribute("datetime") or "") + timedelta(hours=14)
        assert f"{here:%-I:%M}" in each.text
        assert (each.get_attribute("title") or "").endswith(" UTC")
    browser.get(f"{site.url}/account/activity?ui_locales=de")
    for each in browser.find_elements(By.TAG_NAME, "time"):
        here = datetime.fromisoformat(each.get_attribute("datetime") or "") + timedelta(hours=14)
        assert each.text == f"{here:%d.%m.%Y, %H:%M}", "the form of the page's language"


def test_forced_colours_keep_the_marks_of_my_activity(site: Identity, browser: WebDriver) -> None:
    """Finding U24: the marks had the colour of the page, and good ones looked like others."""
    site.open("--app", "Webmail")
    sign_in(site, browser)
    press(browser, "My activity")
    seconds_until(lambda: title(browser) == "My activity")
    force_colours(browser)
    good, behind = mark_of(browser, ".happenings > .good", "::before")
    plain, _ = mark_of(browser, ".happenings > .plain", "::before")
    assert good not in ("", behind)
    assert plain not in ("", behind)
    filled = "return getComputedStyle(document.querySelector(arguments[0]), '::before').backgroundColor"
    both = [browser.execute_script(filled, f".happenings > .{tone}") for tone in ("good", "plain")]
    assert both[0] != both[1], "a good one is filled, another one is empty"


def test_login_is_one_row_of_my_activity(site: Identity, browser: WebDriver) -> None:
    """Finding U15: a login was several rows."""
    opened = site.open("--app", "The <i>wiki</i>")
    browser.get(opened["page_url"])
    body = {"challenge": opened["id"], "code": opened["code"], "fingerprint": parse(ed25519("laptop")).fingerprint}
    assert site.post("/api/v1/mfa/ssh/accept", body).status_code == 200
    sign_in(site, browser)
    press(browser, "My activity")
    seconds_until(lambda: title(browser) == "My activity")
    row = browser.find_element(By.XPATH, "//ol[@class='happenings']/li[.//b[contains(., 'The <i>wiki</i>')]]")
    assert row.find_element(By.TAG_NAME, "b").text == "Login to The <i>wiki</i> Passed"
    steps = [each.text for each in row.find_elements(By.CSS_SELECTOR, ".course > li > span")]
    assert steps == ["Begun", "Page opened", "Passed with the key laptop"]


def test_my_keys_leads_to_the_enrolment_page_and_back(site: Identity, browser: WebDriver) -> None:
    sign_in(site, browser)
    press(browser, "Add a key")
    seconds_until(lambda: title(browser) == "Register an SSH key")
    press(browser, "Back to my keys")
    seconds_until(lambda: title(browser) == "My keys")


def test_key_that_is_added_after_a_sign_in_by_ssh_is_approved_by_an_existing_key(
    site: Identity, browser: WebDriver
) -> None:
    """Finding S1: the pages lead the person to the approval and on, by themselves."""
    sign_in(site, browser)
    press(browser, "Add a key")
    seconds_until(lambda: title(browser) == "Register an SSH key")
    code = browser.find_element(By.ID, "command").text.split()[-1].replace("-", "")
    Guest(site, "alice", code, browser.current_url).present(ed25519("new"))
    seconds_until(lambda: title(browser) == "Is this your key?")
    press(browser, "Confirm: this is my key")
    seconds_until(lambda: title(browser) == "Confirm with SSH")
    assert "to add the key SHA256:" in browser.find_element(By.CSS_SELECTOR, ".brand .for").text
    pass_it(site, code_on(browser))
    seconds_until(lambda: title(browser) == "Registered")
    press(browser, "Back to my keys")
    seconds_until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".key")) == 3)


def test_person_signs_in_and_out_by_keyboard_alone(site: Identity, browser: WebDriver) -> None:
    browser.get(site.url)
    tab_to(browser, "Sign in with SSH").send_keys(Keys.ENTER)
    seconds_until(lambda: len(code_on(browser)) == 8)
    pass_it(site, code_on(browser))
    seconds_until(lambda: title(browser) == "My keys")
    skip = tab_to(browser, "Skip to the content")
    assert skip.is_displayed(), "the link that skips the navigation is visible while it has the focus"
    tab_to(browser, "My activity").send_keys(Keys.ENTER)
    seconds_until(lambda: title(browser) == "My activity")
    tab_to(browser, "Sign out").send_keys(Keys.ENTER)
    seconds_until(lambda: title(browser) == "Sign in")


def tab_to(browser: WebDriver, text: str):  # type: ignore[no-untyped-def]  # noqa: ANN201 - selenium's element
    """Returns the element with this text, reached by the tab key. Every element before it shows its focus."""
    browser.execute_script("document.activeElement.blur()")
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        here = browser.switch_to.active_element
        assert here.value_of_css_property("outline-style") != "none", here.get_attribute("outerHTML")
        if text in (here.get_attribute("textContent") or ""):
            return here
    pytest.fail(f"no tab leads to {text}")


# --- accessibility of every page

PAGES = ["sign-in", "sign-in by ssh", "challenge", "typed code", "wrong code", "passed", "denied", "expired", "unknown",
         "keys", "renaming", "removing", "last key", "activity", "error",
         "enrol", "enrol signature", "enrol fault", "enrol presented", "enrol attestation", "enrol confirmed",
         "enrol refused", "enrol expired", "enrol unknown"]  # fmt: skip


def show(page: str, site: Identity, browser: WebDriver) -> None:  # noqa: C901, PLR0912 - a list of pages
    long = "A very long name of an application " + "w" * 80
    match page:
        case "sign-in":
            browser.get(f"{site.url}/?note=again")
        case "sign-in by ssh":
            browser.get(site.url)
            press(browser, "Sign in with SSH")
            seconds_until(lambda: len(code_on(browser)) == 8)
        case "challenge":
            browser.get(site.open("--app", long)["page_url"])
        case "typed code" | "wrong code":
            opened = site.open("--binding", "code_back")
            browser.get(opened["page_url"])
            if page == "wrong code":
                printed = {"challenge": opened["id"], "fingerprint": site.fingerprint, "confirmed": True}
                assert site.post("/api/v1/mfa/ssh/accept", printed).status_code == 200
                browser.find_element(By.ID, "code").send_keys("000000", Keys.ENTER)
                seconds_until(lambda: browser.find_element(By.ID, "wrong").is_displayed())
        case "passed" | "denied" | "expired":
            opened = site.open("--app", long)
            if page == "passed":
                assert site.accept(opened).status_code == 200
            elif page == "denied":
                site.post("/api/v1/mfa/ssh/reject", {"challenge": opened["id"]})
            else:
                site.run("challenge", "cancel", opened["id"])
            browser.get(opened["page_url"])
        case page if page.startswith("enrol"):
            show_enrolment(page, site, browser)
        case "unknown":
            browser.get(f"{site.url}/challenge/nosuchpage")
        case "error":
            browser.get(f"{site.url}/sign-in/oidc/callback?code=x")
        case _:
            site.open("--app", long)
            if page == "last key":
                site.run("key", "remove", parse(ed25519("laptop")).fingerprint)
            sign_in(site, browser)
            if page == "renaming":
                press(browser, "Rename")
                seconds_until(lambda: browser.find_element(By.NAME, "name").is_displayed())
            elif page in ("removing", "last key"):
                press(browser, "Remove")
            elif page == "activity":
                press(browser, "My activity")


def show_enrolment(page: str, site: Identity, browser: WebDriver) -> None:
    someone = guest(site)
    if page in ("enrol presented", "enrol confirmed", "enrol refused"):
        someone.present()
    elif page == "enrol attestation":
        someone.present(SecurityKey().public)
    elif page == "enrol expired":
        site.run("invite", someone.name, "--cancel")
    address = f"{site.url}/enrol/nosuch" if page == "enrol unknown" else someone.page
    browser.get(address + "?by=signature" if page in ("enrol signature", "enrol fault") else address)
    clicks = {
        "enrol fault": ("sign", "#fault"),
        "enrol confirmed": ("confirm", "[data-state=confirmed]"),
        "enrol refused": ("refuse", "[data-state=refused]"),
    }
    if page in clicks:
        action, then = clicks[page]
        click(browser, By.CSS_SELECTOR, f"button[value={action}]")
        seconds_until(lambda: bool(browser.find_elements(By.CSS_SELECTOR, then)))


@pytest.mark.parametrize("page", PAGES)
def test_page_is_accessible(site: Identity, used_browser: WebDriver, page: str) -> None:
    browser = used_browser
    show(page, site, browser)
    assert page_faults(browser, site.url) == []
    # Chromium logs 4xx pages as errors, and everything that the policy blocked
    complaints = [each["message"] for each in browser.get_log("browser")]  # type: ignore[attr-defined]
    assert [each for each in complaints if "the server responded with a status of 40" not in each] == []
