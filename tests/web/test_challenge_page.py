"""The challenge page in a real browser, against the real service."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import requests
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from web.served import Identity

NO_SCRIPTS = {"profile.managed_default_content_settings.javascript": 2}


def seconds_until(holds: Callable[[], bool], limit: float = 10) -> float:
    """How long it took, at most `limit` seconds."""
    start = time.monotonic()
    while time.monotonic() - start < limit:
        with suppress(WebDriverException):  # the page is being loaded anew: Chromium has many words for that
            if holds():
                return time.monotonic() - start
        time.sleep(0.02)
    pytest.fail("it did not happen in time")


def title(browser: WebDriver) -> str:
    return browser.find_element(By.TAG_NAME, "h1").text


def wait_for_script(browser: WebDriver) -> None:
    seconds_until(lambda: browser.find_element(By.ID, "copy").is_displayed())


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
    assert browser.find_element(By.ID, "command").text == opened["ssh_command"]
    assert not browser.find_element(By.ID, "copy").is_displayed()
    assert identity.accept(opened).status_code == 200
    assert seconds_until(lambda: title(browser) == "Passed") < 4


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


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_needs_scrolling_sideways(identity: Identity, browser: WebDriver, width: int) -> None:
    metrics: dict[str, Any] = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(identity.open("--app", "A very long name of an application " + "w" * 80)["page_url"])
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth") is True


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_enough_in_light_and_in_dark(identity: Identity, browser: WebDriver, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(identity.open("--app", "Wiki")["page_url"])
    card = browser.find_element(By.TAG_NAME, "main").value_of_css_property("background-color")
    for selector in ("h1", "#sentence", "#command", "#copy", ".facts", ".note", ".for"):
        element = browser.find_element(By.CSS_SELECTOR, selector)
        ratio = contrast(element.value_of_css_property("color"), card)
        assert ratio >= 4.5, selector  # WCAG 2.2, 1.4.3


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


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
