"""Tests the challenge page in a real browser with the real service."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import (
    NO_SCRIPTS,
    faint_texts,
    faults_of_structure,
    fits,
    force_colours,
    mark_of,
    nameless,
    seconds_until,
    set_scheme,
    set_size,
    small_targets,
    title,
    wait_for_script,
)
from web.served import Identity


def test_page_shows_the_command_with_the_code_and_the_context(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open("--app", "The <b>Wiki</b>")
    browser.get(opened["page_url"])
    assert browser.find_element(By.ID, "command").text == f"ssh -p 2222 mfa@login.example.org {opened['code']}"
    assert browser.find_element(By.CLASS_NAME, "for").text == "Login to The <b>Wiki</b> as alice"
    assert title(browser) == "Confirm with SSH"
    seconds_until(lambda: browser.find_element(By.ID, "left").text.startswith("Waiting, 4:5"))


def test_page_turns_to_passed_without_a_reload(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    browser.execute_script("window.untouched = true")
    assert identity.accept(opened).status_code == 200
    seconds_until(lambda: title(browser) == "Passed")  # tests/e2e/test_page.py measures how fast
    assert browser.title == "Passed"
    assert browser.execute_script("return window.untouched") is True, "the page was reloaded"
    assert not browser.find_elements(By.ID, "command")
    region = browser.find_element(By.CSS_SELECTOR, "[role=status][aria-live=polite]")
    assert "go back to where you logged in" in region.text


def test_page_that_finds_no_place_to_wait_asks_again_and_again(identity: Identity, browser: WebDriver) -> None:
    """Finding S8: a stranger with the address of the page may take all its places, and the page still has its news."""
    opened = identity.open()
    with ExitStack() as stack:
        while True:
            stream = stack.enter_context(requests.get(f"{opened['page_url']}/events", stream=True, timeout=60))
            if stream.status_code == 429:
                break
        browser.get(opened["page_url"])
        wait_for_script(browser)
        identity.accept(opened, f"{(int(opened['code']) + 1) % 10**6:06}")
        seconds_until(lambda: browser.find_element(By.ID, "wrong").text == "Wrong code, 4 tries left")
        assert not browser.find_element(By.ID, "trouble").is_displayed()


def test_page_shows_the_attempts_left_and_the_last_wrong_code_ends_the_login(
    identity: Identity, browser: WebDriver
) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    wrong = f"{(int(opened['code']) + 1) % 10**6:06}"
    identity.accept(opened, wrong)
    seconds_until(lambda: browser.find_element(By.ID, "wrong").text == "Wrong code, 4 tries left")
    for _ in range(4):
        identity.accept(opened, wrong)
    seconds_until(lambda: title(browser) == "Denied")
    assert "Too many wrong codes" in browser.find_element(By.ID, "sentence").text


@pytest.mark.parametrize("scripts", [True, False])
def test_wrong_code_keeps_the_focus_and_is_told_beside_the_field(
    identity: Identity, browse: Callable[..., WebDriver], scripts: bool
) -> None:
    """Finding U13: the focus was lost, and the error stood beside the countdown."""
    browser = browse() if scripts else browse(preferences=NO_SCRIPTS)
    opened = identity.open("--binding", "code_back")
    browser.get(opened["page_url"])
    printed = {"challenge": opened["id"], "fingerprint": identity.fingerprint, "confirmed": True}
    assert identity.post("/api/v1/mfa/ssh/accept", printed).status_code == 200
    browser.find_element(By.ID, "code").send_keys("000000", Keys.ENTER)
    seconds_until(lambda: browser.find_element(By.ID, "wrong").is_displayed())
    field, error = browser.find_element(By.ID, "code"), browser.find_element(By.ID, "wrong")
    seconds_until(lambda: browser.switch_to.active_element == field)
    assert (field.get_attribute("aria-describedby"), field.get_attribute("aria-invalid")) == ("wrong", "true")
    form, below = browser.find_element(By.CSS_SELECTOR, "form.type"), field.rect["y"] + field.rect["height"]
    assert form.find_elements(By.ID, "wrong"), "the error belongs to the form"
    assert 0 <= error.rect["y"] - below < 30, "the error stands right below the field"
    assert error.rect["y"] < browser.find_element(By.ID, "left").rect["y"]


def test_forced_colours_keep_the_mark_of_a_login_that_waits(identity: Identity, browser: WebDriver) -> None:
    """Finding U24: the mark had the colour of the page."""
    browser.get(identity.open()["page_url"])
    wait_for_script(browser)
    force_colours(browser)
    mark, behind = mark_of(browser, ".status .dot")
    assert mark not in ("", behind)


@pytest.mark.parametrize("outcome", ["accepted", "rejected", "cancelled"])
def test_forced_colours_keep_the_sign_of_an_outcome(identity: Identity, browser: WebDriver, outcome: str) -> None:
    """Finding U24: the shape of the sign tells the outcome, and not its colour alone."""
    opened = identity.open()
    match outcome:
        case "accepted":
            identity.accept(opened)
        case "rejected":
            identity.post("/api/v1/mfa/ssh/reject", {"challenge": opened["id"]})
        case _:
            identity.run("challenge", "cancel", opened["id"])
    browser.get(opened["page_url"])
    force_colours(browser)
    (sign,) = [each for each in browser.find_elements(By.CSS_SELECTOR, ".mark") if each.is_displayed()]
    stroke = browser.execute_script("return getComputedStyle(arguments[0]).stroke", sign)
    behind = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert stroke not in ("none", behind)


def test_deny_from_ssh_shows_as_denied(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    identity.post("/api/v1/mfa/ssh/reject", {"challenge": opened["id"]})
    seconds_until(lambda: title(browser) == "Denied")


def test_cancel_command_of_the_operator_reaches_the_page(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    identity.run("challenge", "cancel", opened["id"])
    seconds_until(lambda: title(browser) == "Cancelled")


def test_page_without_javascript_shows_the_command_and_reloads(
    identity: Identity, browse: Callable[..., WebDriver]
) -> None:
    browser = browse(preferences=NO_SCRIPTS)
    opened = identity.open()
    browser.get(opened["page_url"])
    seconds_until(lambda: browser.find_element(By.ID, "command").text == opened["ssh_command"])
    seconds_until(lambda: not browser.find_element(By.ID, "copy").is_displayed())
    assert identity.accept(opened).status_code == 200
    seconds_until(lambda: title(browser) == "Passed")


def test_copy_button_works_by_keyboard(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "command"
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    seconds_until(lambda: browser.find_element(By.ID, "copy").text in ("Copied", "Selected"))


def test_browser_console_has_no_errors(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    identity.accept(opened)
    seconds_until(lambda: title(browser) == "Passed")
    assert browser.get_log("browser") == []  # type: ignore[attr-defined]


def test_unknown_address_has_its_own_page(identity: Identity, browser: WebDriver) -> None:
    browser.get(f"{identity.url}/challenge/nosuchpage")
    assert title(browser) == "No such login"
    assert requests.get(f"{identity.url}/challenge/nosuchpage", timeout=20).status_code == 404


# --- the return URL


BACK = "http://127.0.0.1/healthz?from=here"


def way_back(browser: WebDriver) -> str:
    """Returns the label of the link if the link is visible."""
    return browser.find_element(By.ID, "return").text


def test_page_of_a_passed_login_offers_to_continue_and_does_not_redirect(
    identity: Identity, browser: WebDriver
) -> None:
    opened = identity.open_from(BACK)
    browser.get(opened["page_url"])
    wait_for_script(browser)
    assert way_back(browser) == ""
    assert identity.accept(opened).status_code == 200
    seconds_until(lambda: way_back(browser) == "Continue")
    assert browser.current_url == opened["page_url"]
    link = browser.find_element(By.CSS_SELECTOR, "#return a")
    assert (link.get_attribute("href"), link.get_attribute("rel")) == (BACK, "noreferrer")
    assert not browser.find_elements(By.CSS_SELECTOR, "#return a[target]")


def test_cancelled_login_links_back_to_the_application(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open_from(BACK)
    browser.get(opened["page_url"])
    wait_for_script(browser)
    identity.run("challenge", "cancel", opened["id"])
    seconds_until(lambda: way_back(browser) == "Try again")


def test_page_without_javascript_links_to_the_return_url(identity: Identity, browse: Callable[..., WebDriver]) -> None:
    browser = browse(preferences=NO_SCRIPTS)
    opened = identity.open_from(BACK)
    browser.get(opened["page_url"])
    seconds_until(lambda: browser.find_element(By.ID, "command").text == opened["ssh_command"])
    assert browser.find_elements(By.CSS_SELECTOR, "#return[hidden]")
    identity.run("challenge", "cancel", opened["id"])
    seconds_until(lambda: way_back(browser) == "Try again")


@pytest.mark.parametrize("size", ["desktop", "phone", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_return_link_is_readable_and_large(identity: Identity, used_browser: WebDriver, scheme: str, size: str) -> None:
    set_scheme(used_browser, scheme)
    set_size(used_browser, size)
    opened = identity.open_from(BACK)
    identity.run("challenge", "cancel", opened["id"])
    used_browser.get(opened["page_url"])
    assert way_back(used_browser) == "Try again"
    assert fits(used_browser)
    for faults in (faint_texts, faults_of_structure, nameless, small_targets):
        assert faults(used_browser) == []
