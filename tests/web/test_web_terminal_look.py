"""Tests how the pages of `sshaft web` look and whether everybody can use them, in a real browser with a real sshd."""

from collections.abc import Callable, Iterator

import pytest
from e2e.web_site import WebSite
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from web.axe import violations
from web.looking import (
    NO_SCRIPTS,
    click,
    faint_texts,
    faults_of_structure,
    fits,
    foreign_requests,
    seconds_until,
    set_scheme,
    set_size,
    small_targets,
)
from web.terminal_page import LEAVE, TerminalPage

LOOKS = [("desktop", "light"), ("desktop", "dark"), ("phone", "light"), ("phone", "dark"), ("narrow", "light")]


@pytest.fixture
def page(site: WebSite, used_browser: WebDriver) -> Iterator[TerminalPage]:
    with TerminalPage(used_browser, site.web.url, site.place.person).in_own_tab() as page:
        yield page
        assert page.errors() == []


def faults(page: TerminalPage) -> list[str]:
    """Returns everything that is wrong with the look of the page."""
    found = [*violations(page.browser), *small_targets(page.browser)]
    return [*found, *([] if fits(page.browser) else ["it does not fit its window"])]


def press(page: TerminalPage, name: str) -> None:
    """Goes to the control by the tab key, and presses it."""
    for _ in range(40):
        page.type(Keys.TAB)
        if page.focused() == name:
            page.type(Keys.ENTER)
            return
    pytest.fail(f"the tab key does not reach {name}")


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_every_page_is_accessible(page: TerminalPage, size: str, scheme: str) -> None:
    set_scheme(page.browser, scheme)
    set_size(page.browser, size)
    page.browser.get(page.url)
    assert faults(page) == []
    assert [*faint_texts(page.browser), *faults_of_structure(page.browser)] == []
    page.browser.get(f"{page.url}/sign-in/callback?code=x")
    assert faults(page) == []
    page.sign_in()
    assert faults(page) == []
    page.open()
    page.run("printf '\\033]52;c;aGVsbG8=\\007\\033[31mred \\033[34mblue \\033[38;2;99;99;99mgrey\\033[m\\n'")
    seconds_until(lambda: len(page.notices()) == 1)
    page.find("[data-tool=search]").click()
    assert faults(page) == []
    page.find("[data-tool=close]").click()
    assert faults(page) == []
    page.type(Keys.ESCAPE)
    click(page.browser, By.ID, "settings-open")
    assert faults(page) == []
    page.type(Keys.ESCAPE)


def test_high_contrast_and_the_mode_for_screen_readers_are_accessible(page: TerminalPage) -> None:
    page.begin()
    click(page.browser, By.ID, "settings-open")
    click(page.browser, By.CSS_SELECTOR, "#set-theme option[value=contrast]")
    for setting in ("set-reader", "set-keys"):
        click(page.browser, By.ID, setting)
    assert faults(page) == []
    page.type(Keys.ESCAPE)
    assert page.focused() == "Settings"
    page.find(".xterm-helper-textarea").send_keys("")
    page.run("echo rea''d me")
    page.wait_for("read me")
    seconds_until(lambda: "read me" in page.find(".xterm-accessibility").get_attribute("textContent"))
    assert page.find(".xterm-accessibility [aria-live]").get_attribute("aria-live") == "assertive"
    assert faults(page) == []


def test_person_needs_no_mouse(page: TerminalPage) -> None:
    page.browser.get(page.url)
    press(page, "Sign in with your organisation")
    seconds_until(lambda: bool(page.browser.find_elements(By.NAME, "user")))
    page.browser.find_element(By.NAME, "user").submit()  # the page of the provider is not ours
    seconds_until(lambda: page.tabs() == ["Hosts"])
    page.errors()
    press(page, "Open a terminal on host")
    page.wait_for_state("Connected")
    seconds_until(lambda: page.text().endswith("$"))
    page.run("echo ty''ped")
    page.wait_for("typed")
    page.type(Keys.TAB)
    assert page.focused() == "Terminal input", "the tab key is for the shell"
    page.type(LEAVE)
    assert page.focused() == "host"
    press(page, "Search")
    assert page.focused() == "Search in the output"
    page.type(Keys.ESCAPE)
    assert page.focused() == "Terminal input"
    page.type(LEAVE)
    press(page, "Close")
    assert page.focused() == "Cancel"
    page.type(Keys.SHIFT + Keys.TAB + Keys.NULL, Keys.ENTER)
    seconds_until(lambda: page.tabs() == ["Hosts"])
    assert page.focused() == "Hosts"


def test_phone_gets_the_keys_that_its_keyboard_lacks(page: TerminalPage) -> None:
    set_size(page.browser, "phone")
    page.begin()
    click(page.browser, By.ID, "settings-open")
    click(page.browser, By.ID, "set-keys")
    page.type(Keys.ESCAPE)
    page.find(".xterm-helper-textarea").send_keys("cat -v")
    page.type(Keys.ENTER)
    for key in ("Escape", "Tab", "ArrowUp", "|", "~", "/"):
        page.find(f".keys [data-key='{key}']").click()
        assert page.focused() == "Terminal input"
    page.find(".keys [data-modifier=alt]").click()
    page.type("x")
    page.find(".keys [data-modifier=ctrl]").click()
    page.find(".keys [data-key=ArrowLeft]").click()
    page.type(Keys.ENTER)
    page.wait_for(" ^[[A|~/^[x^[[1;5D\n^[")
    page.find(".keys [data-modifier=ctrl]").click()
    page.type("c")
    seconds_until(lambda: page.text().endswith("^C\n$"))
    page.find(".keys [data-do=paste]").click()
    page.type("echo pas''ted")
    click(page.browser, By.CSS_SELECTOR, "dialog[open] [value=yes]")
    page.type(Keys.ENTER)
    page.wait_for("pasted")
    page.find(".keys [data-do=text]").click()
    assert "pasted" in page.browser.find_element(By.CSS_SELECTOR, "dialog[open] textarea").get_attribute("value")
    assert faults(page) == []


def test_finger_scrolls_the_output(page: TerminalPage) -> None:
    set_size(page.browser, "phone")
    page.begin()
    page.run("clear; seq 1 200")
    page.wait_for("\n200\n$")
    for number, kind in enumerate(["touchStart", *["touchMove"] * 10, "touchEnd"]):
        points = [] if kind == "touchEnd" else [{"x": 150, "y": 300 + 20 * number}]
        page.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    seconds_until(lambda: "\n200" not in page.text())


def test_page_without_javascript_says_what_it_needs(site: WebSite, browse: Callable[..., WebDriver]) -> None:
    browser = browse(preferences=NO_SCRIPTS)
    browser.get(site.web.url)
    assert "This page needs JavaScript" in browser.find_element(By.TAG_NAME, "main").text


def test_page_is_light_and_loads_nothing_from_elsewhere(page: TerminalPage) -> None:
    script = (
        "return performance.getEntriesByType('resource').reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)"
    )
    page.browser.get(page.url)
    assert page.browser.execute_script(script) < 5_000
    page.begin()
    assert page.browser.execute_script(script) < 150_000
    assert foreign_requests(page.browser, page.url) == []
