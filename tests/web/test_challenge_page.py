"""The challenge page in a real browser, against the real service."""

from collections.abc import Callable

import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import NO_SCRIPTS, seconds_until, title, wait_for_script
from web.served import Identity


def test_the_page_shows_the_command_with_the_code_and_what_is_asked(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open("--app", "The <b>Wiki</b>")
    browser.get(opened["page_url"])
    assert browser.find_element(By.ID, "command").text == f"ssh -p 2222 mfa@login.example.org {opened['code']}"
    assert browser.find_element(By.CLASS_NAME, "for").text == "Login to The <b>Wiki</b> as alice"
    assert title(browser) == "Confirm with SSH"
    seconds_until(lambda: browser.find_element(By.ID, "left").text.startswith("Waiting, 4:5"))


def test_the_page_turns_to_passed_by_itself_without_being_loaded_anew(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    browser.execute_script("window.untouched = true")
    assert identity.accept(opened).status_code == 200
    seconds_until(lambda: title(browser) == "Passed")  # how fast: tests/e2e/test_page.py
    assert browser.title == "Passed"
    assert browser.execute_script("return window.untouched") is True, "the page was loaded anew"
    assert not browser.find_elements(By.ID, "command")
    region = browser.find_element(By.CSS_SELECTOR, "[role=status][aria-live=polite]")
    assert "go back to where you logged in" in region.text


def test_a_wrong_code_shows_how_many_tries_are_left_and_the_last_one_ends_it(
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


def test_a_deny_from_ssh_shows_as_denied(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    identity.post("/api/v1/mfa/ssh/reject", {"challenge": opened["id"]})
    seconds_until(lambda: title(browser) == "Denied")


def test_a_cancel_by_the_operators_command_reaches_the_page(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    identity.run("challenge", "cancel", opened["id"])
    seconds_until(lambda: title(browser) == "Cancelled")


def test_without_javascript_the_page_shows_the_command_and_finds_the_news_by_reloading(
    identity: Identity, browse: Callable[..., WebDriver]
) -> None:
    browser = browse(preferences=NO_SCRIPTS)
    opened = identity.open()
    browser.get(opened["page_url"])
    seconds_until(lambda: browser.find_element(By.ID, "command").text == opened["ssh_command"])
    seconds_until(lambda: not browser.find_element(By.ID, "copy").is_displayed())
    assert identity.accept(opened).status_code == 200
    seconds_until(lambda: title(browser) == "Passed")


def test_the_copy_button_works_by_keyboard(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "command"
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    seconds_until(lambda: browser.find_element(By.ID, "copy").text in ("Copied", "Selected"))


def test_the_browser_finds_nothing_to_complain_about(identity: Identity, browser: WebDriver) -> None:
    opened = identity.open()
    browser.get(opened["page_url"])
    wait_for_script(browser)
    identity.accept(opened)
    seconds_until(lambda: title(browser) == "Passed")
    assert browser.get_log("browser") == []  # type: ignore[attr-defined]


def test_an_unknown_address_is_a_plain_page_of_its_own(identity: Identity, browser: WebDriver) -> None:
    browser.get(f"{identity.url}/challenge/nosuchpage")
    assert title(browser) == "No such login"
    assert requests.get(f"{identity.url}/challenge/nosuchpage", timeout=5).status_code == 404
