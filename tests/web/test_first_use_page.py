"""Tests in a real browser what the pages of a login and an invitation offer beside the command."""

import re
from collections.abc import Callable

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from web.axe import page_faults
from web.enrolling import guest
from web.looking import (
    NO_SCRIPTS,
    click,
    seconds_until,
    set_size,
    title,
    wait_for_script,
)
from web.served import Identity


def details(browser: WebDriver, words: str) -> WebElement:
    return browser.find_element(By.XPATH, f"//details[contains(summary, '{words}')]")


def open_all(browser: WebDriver) -> None:
    """Opens every section, by its summary as a person does."""
    for summary in browser.find_elements(By.TAG_NAME, "summary"):
        summary.click()


def lines_of(element: WebElement) -> int:
    """Returns how many lines the text of the element takes."""
    script = (
        "const range = document.createRange(); range.selectNodeContents(arguments[0]);"
        "return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size"
    )
    return int(element.parent.execute_script(script, element))


def shown_system(browser: WebDriver) -> str:
    panels = browser.find_elements(By.CSS_SELECTOR, ".tabs > div")
    return " ".join(each.get_attribute("class") or "" for each in panels if each.is_displayed())


@pytest.mark.parametrize("page", ["login", "invitation", "signature"])
def test_open_sections_are_accessible_on_every_screen(identity: Identity, used_browser: WebDriver, page: str) -> None:
    browser = used_browser
    address = identity.open("--app", "Wiki")["page_url"] if page == "login" else guest(identity).page
    browser.get(f"{address}?by=signature" if page == "signature" else address)
    wait_for_script(browser)
    open_all(browser)
    assert page_faults(browser) == []
    assert browser.get_log("browser") == []  # type: ignore[attr-defined]


def test_page_shows_the_commands_of_the_chosen_system(identity: Identity, used_browser: WebDriver) -> None:
    browser = used_browser
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    assert not browser.find_element(By.CSS_SELECTOR, ".tabs").is_displayed()
    details(browser, "The first time?").find_element(By.TAG_NAME, "summary").click()
    assert shown_system(browser) == "linux", "the system of this browser"
    browser.find_element(By.ID, "windows").click()
    assert shown_system(browser) == "windows"
    assert (
        f"plink -ssh -P 2222 mfa@login.example.org {opened['code']}"
        in browser.find_element(By.CLASS_NAME, "windows").text
    )
    fingerprint = browser.find_element(By.CSS_SELECTOR, "[aria-label='Ed25519 fingerprint of the host']")
    assert fingerprint.text == identity.fingerprint  # the host key of this fixture is the same key


def test_signing_command_is_that_of_the_chosen_system(identity: Identity, used_browser: WebDriver) -> None:
    used_browser.get(f"{guest(identity).page}?by=signature")
    shown = lambda: [  # noqa: E731
        each.text.split(" ", 1)[0]
        for each in used_browser.find_elements(By.CSS_SELECTOR, ".long code")
        if each.is_displayed()
    ]
    assert shown() == ["echo"]
    used_browser.find_element(By.ID, "windows").click()
    assert [each[0] for each in shown()] == ["'", "e"], "PowerShell and cmd.exe"


def test_page_without_scripts_has_everything_on_a_page_that_does_not_reload(
    identity: Identity, browse: Callable[..., WebDriver]
) -> None:
    browser = browse(preferences=NO_SCRIPTS)
    opened = identity.open()
    browser.get(opened["page_url"])
    click(browser, By.PARTIAL_LINK_TEXT, "The first time?")
    seconds_until(lambda: "more=1" in browser.current_url)
    click(browser, By.ID, "macos")
    assert shown_system(browser) == "macos"
    click(browser, By.LINK_TEXT, "Back to the login")
    seconds_until(lambda: browser.current_url == opened["page_url"])
    click(browser, By.XPATH, "//button[contains(., 't me')]")
    seconds_until(lambda: title(browser) == "Denied")
    browser.get(guest(identity).page)
    click(browser, By.PARTIAL_LINK_TEXT, "The first time?")
    seconds_until(lambda: shown_system(browser) == "linux")


def test_command_takes_one_line_and_the_digits_are_copied_whole(identity: Identity, used_browser: WebDriver) -> None:
    """Finding U23: the command wrapped at 1280 pixels."""
    opened = identity.open()
    used_browser.get(opened["page_url"])
    wait_for_script(used_browser)
    for size in ("desktop", "phone"):
        set_size(used_browser, size)
        assert lines_of(used_browser.find_element(By.ID, "command")) == 1, size
    digits = used_browser.find_element(By.ID, "digits")
    selected = used_browser.execute_script(
        "getSelection().selectAllChildren(arguments[0]); return `${getSelection()}`", digits
    )
    assert selected == opened["code"]
    first, second = digits.find_elements(By.TAG_NAME, "i")
    gap = second.rect["x"] - first.rect["x"] - first.rect["width"]
    assert gap > 8, "the eye sees two groups"
    command = float(used_browser.find_element(By.ID, "command").value_of_css_property("font-size")[:-2])
    assert float(digits.value_of_css_property("font-size")[:-2]) >= 2 * command


def test_person_says_once_that_ssh_has_the_alias(identity: Identity, browser: WebDriver) -> None:
    someone = guest(identity)
    someone.present()
    browser.get(someone.page)
    click(browser, By.CSS_SELECTOR, "button[value=confirm]")
    seconds_until(lambda: title(browser) == "Registered")
    block = browser.find_element(By.CSS_SELECTOR, "#short code.block").text
    assert [line.strip() for line in block.splitlines()] == [
        "Host mfa", "HostName login.example.org", "Port 2222", "User mfa", "IdentityFile ~/.ssh/id_ed25519",
        "IdentitiesOnly yes", "ControlPath none",
    ]  # fmt: skip
    click(browser, By.CSS_SELECTOR, "button[value=yes]")
    seconds_until(lambda: "This browser shows ssh mfa 482913" in browser.find_element(By.ID, "short").text)
    opened = identity.open()
    browser.get(opened["page_url"])
    assert browser.find_element(By.ID, "command").text == f"ssh mfa {opened['code']}"
    wait_for_script(browser)
    details(browser, "A shorter command").find_element(By.TAG_NAME, "summary").click()
    click(browser, By.CSS_SELECTOR, "button[value=no]")
    seconds_until(lambda: browser.find_element(By.ID, "command").text == opened["ssh_command"])


def test_tab_and_notification_show_the_outcome(identity: Identity, browser: WebDriver) -> None:
    """The person may look at the terminal while the page is behind it."""
    opened = identity.open("--app", "Wiki")
    browser.execute_cdp_cmd("Browser.grantPermissions", {"origin": identity.url, "permissions": ["notifications"]})
    browser.get(opened["page_url"])
    wait_for_script(browser)
    waits = browser.find_element(By.ID, "icon").get_attribute("href")
    assert browser.title == "Waiting for SSH \N{EN DASH} Wiki"
    browser.execute_script(
        "window.notes = []; window.Notification = class extends Notification {"
        "constructor(title, options) { super(title, options); window.notes.push(title + ': ' + options.body); } };"
    )
    click(browser, By.ID, "notify")
    seconds_until(lambda: browser.find_element(By.ID, "notify").text == "You will be notified")
    browser.execute_script("Object.defineProperty(document, 'hidden', {get: () => true})")
    assert identity.accept(opened).status_code == 200
    seconds_until(lambda: title(browser) == "Passed")
    assert browser.title == "Passed \N{EN DASH} Wiki"
    assert browser.execute_script("return window.notes") == ["Passed: You can go back to where you logged in."]
    passed = browser.find_element(By.ID, "icon").get_attribute("href")
    assert re.sub(r"%23\w{6}|d='.*?'", "", waits or "") == re.sub(r"%23\w{6}|d='.*?'", "", passed or "")
    assert ("2c57b3" in (waits or ""), "1a6b44" in (passed or "")) == (True, True)
