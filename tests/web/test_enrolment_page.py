"""Tests the enrolment page in a real browser: clicks confirm and refuse keys, and a reload deletes no input."""

import re
from collections.abc import Callable
from pathlib import Path

from fakes.public_keys import ed25519
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from web.enrolling import guest, registered, write_signed
from web.looking import NO_SCRIPTS, click, seconds_until, title, wait_for_script
from web.served import Identity

from sshaft.public_key import parse
from sshaft.randomart import randomart


def press(browser: WebDriver, action: str) -> None:
    click(browser, By.CSS_SELECTOR, f"button[value={action}]")


def text_of(browser: WebDriver, identifier: str) -> str:
    return browser.find_element(By.ID, identifier).text


def test_presented_key_shows_by_itself_and_is_confirmed_by_a_click(identity: Identity, browser: WebDriver) -> None:
    someone = guest(identity)
    browser.get(someone.page)
    wait_for_script(browser)
    assert re.fullmatch(r"ssh -p 2222 mfa@login\.example\.org enrol \d{4}-\d{4}", text_of(browser, "command"))
    seconds_until(lambda: text_of(browser, "left").startswith("Waiting, 14:5"))
    key = someone.present()
    seconds_until(lambda: title(browser) == "Is this your key?")
    assert text_of(browser, "fingerprint") == key.fingerprint
    picture = browser.find_element(By.ID, "randomart").get_attribute("textContent")
    assert picture == "\n".join(randomart(key))
    assert "over ssh from 192.0.2.7" in browser.find_element(By.CSS_SELECTOR, ".well").text
    assert registered(identity, someone) == []
    press(browser, "confirm")
    seconds_until(lambda: title(browser) == "Registered")
    assert registered(identity, someone) == [key.fingerprint]
    assert browser.get_log("browser") == []  # type: ignore[attr-defined]


def test_click_on_not_my_key_ends_the_enrolment(identity: Identity, browser: WebDriver) -> None:
    someone = guest(identity)
    someone.present()
    browser.get(someone.page)
    press(browser, "refuse")
    seconds_until(lambda: title(browser) == "Not registered")
    assert registered(identity, someone) == []
    assert not browser.find_elements(By.TAG_NAME, "button")


def test_page_without_scripts_finds_the_key_by_reloading(identity: Identity, browse: Callable[..., WebDriver]) -> None:
    browser = browse(preferences=NO_SCRIPTS)
    someone = guest(identity)
    browser.get(someone.page)
    seconds_until(lambda: not browser.find_element(By.ID, "copy").is_displayed())
    key = someone.present()
    seconds_until(lambda: title(browser) == "Is this your key?")
    press(browser, "confirm")
    seconds_until(lambda: title(browser) == "Registered")
    assert registered(identity, someone) == [key.fingerprint]


def test_signature_may_be_sent_as_files_or_pasted(identity: Identity, browser: WebDriver, tmp_path: Path) -> None:
    for chooses in (True, False):
        someone = guest(identity)
        browser.get(someone.page)
        click(browser, By.PARTIAL_LINK_TEXT, "Sign with it")
        seconds_until(lambda: "Sign a line" in text_of(browser, "sentence"))
        key, signature = write_signed(text_of(browser, "sign-command"), tmp_path / f"key{chooses}")
        for name, path in (("public_key", key), ("signature", signature)):
            if chooses:
                browser.find_element(By.ID, f"{name}_file").send_keys(str(path))
            else:
                browser.find_element(By.ID, name).send_keys(path.read_text().strip())
        press(browser, "sign")
        seconds_until(lambda: title(browser) == "Is this your key?")
        assert text_of(browser, "fingerprint") == parse(key.read_text()).fingerprint
        assert "by a signature" in browser.find_element(By.CSS_SELECTOR, ".well").text


def test_form_with_a_fault_keeps_the_pasted_text(identity: Identity, browser: WebDriver) -> None:
    someone = guest(identity)
    browser.get(f"{someone.page}?by=signature")
    browser.find_element(By.ID, "public_key").send_keys(ed25519("pasted"))
    press(browser, "sign")
    seconds_until(lambda: "Paste the signature" in text_of(browser, "fault"))
    assert browser.find_element(By.ID, "fault").get_attribute("role") == "alert"
    assert browser.find_element(By.ID, "public_key").get_attribute("value") == ed25519("pasted")


def test_page_keeps_typed_text_and_announces_the_news(identity: Identity, browser: WebDriver) -> None:
    someone = guest(identity)
    browser.get(f"{someone.page}?by=signature")
    browser.find_element(By.ID, "signature").send_keys("half a signature")
    key = someone.present()
    news = browser.find_element(By.ID, "news")
    seconds_until(news.is_displayed)
    assert browser.find_element(By.ID, "signature").get_attribute("value") == "half a signature"
    news.find_element(By.TAG_NAME, "a").send_keys(Keys.ENTER)
    seconds_until(lambda: title(browser) == "Is this your key?")
    assert text_of(browser, "fingerprint") == key.fingerprint


def test_untouched_form_is_replaced_by_the_news(identity: Identity, browser: WebDriver) -> None:
    someone = guest(identity)
    browser.get(f"{someone.page}?by=signature")
    someone.present()
    seconds_until(lambda: title(browser) == "Is this your key?")


def test_new_invitation_ends_the_page_of_the_old_one(identity: Identity, browser: WebDriver) -> None:
    someone = guest(identity)
    browser.get(someone.page)
    wait_for_script(browser)
    identity.run("invite", someone.name)
    seconds_until(lambda: title(browser) == "Over")


def test_key_can_be_confirmed_by_keyboard_alone(identity: Identity, browser: WebDriver) -> None:
    someone = guest(identity)
    key = someone.present()
    browser.get(someone.page)
    for _ in range(10):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        here = browser.switch_to.active_element
        assert here.value_of_css_property("outline-style") != "none", here.get_attribute("outerHTML")
        if here.get_attribute("value") == "confirm":
            here.send_keys(Keys.ENTER)
            break
    seconds_until(lambda: title(browser) == "Registered")
    assert registered(identity, someone) == [key.fingerprint]
