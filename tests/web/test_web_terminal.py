"""Tests the page of `sshaft web` in a real browser, with a real sshd, our PAM module, and the throwaway provider."""

from collections.abc import Iterator

import pytest
from e2e.web_site import WebSite
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import click, seconds_until, set_size
from web.terminal_page import LEAVE, TerminalPage

from bench.load.identity_service import resident_mb


@pytest.fixture
def page(site: WebSite, used_browser: WebDriver) -> Iterator[TerminalPage]:
    with TerminalPage(used_browser, site.web.url, site.place.person).in_own_tab() as page:
        page.begin()
        yield page
        assert page.errors() == []


def test_person_signs_in_types_a_command_and_sees_its_output(page: TerminalPage, site: WebSite) -> None:
    assert page.state() == f"Connected to host as {site.place.person}"
    assert page.announced() == page.state()
    page.run("echo in $((1 + 1))")
    page.wait_for("\nin 2\n")
    page.run("exit 3")
    page.wait_for_state("The shell has ended with status 3.")
    page.find("[data-part=action]").click()
    page.wait_for_state("Connected")


def test_person_at_another_address_gets_the_page(site: WebSite, used_browser: WebDriver) -> None:
    used_browser.get(f"http://127.0.0.1:{site.web.port}")
    assert used_browser.current_url == f"{site.web.url}/"
    with TerminalPage(used_browser, site.web.url, site.place.person).in_own_tab() as page:
        page.sign_in()
        assert page.errors() == []


def test_every_character_comes_out_as_it_went_in(page: TerminalPage) -> None:
    page.run("printf 'ä € 漢字 '; printf '\\360\\237'; sleep 0.3; printf '\\230\\200 end\\n'")
    page.wait_for("\nä € 漢字 😀 end")


def test_host_hears_of_the_size_of_the_window(page: TerminalPage) -> None:
    def wanted() -> str:
        return str(page.browser.execute_script("return document.querySelectorAll('.xterm-rows > div').length"))

    page.run("stty size")
    page.wait_for(f"\n{wanted()} ")
    before = wanted()
    set_size(page.browser, "phone")
    seconds_until(lambda: wanted() != before)
    page.run("clear; stty size")
    page.wait_for(f"{wanted()} ")


def test_endless_output_leaves_the_page_responsive(page: TerminalPage) -> None:
    page.run("yes 'a line of text that is as long as others'")
    page.wait_for("as long as others\na line")
    slowest = page.browser.execute_async_script(
        """
        const done = arguments[0], gaps = [];
        let last = performance.now();
        const frame = (now) => {
          gaps.push(now - last);
          last = now;
          if (gaps.length < 100) requestAnimationFrame(frame);
          else done(gaps.sort((a, b) => a - b)[90]);
        };
        requestAnimationFrame(frame);
        """
    )
    assert slowest < 200
    page.type(Keys.CONTROL + "c")
    assert seconds_until(lambda: page.text().endswith("$")) < 5


@pytest.mark.timeout(300)
def test_huge_output_fills_no_memory_and_leaves_the_page_to_the_person(page: TerminalPage, site: WebSite) -> None:
    """`./dev bench web` shows 1 GiB."""
    pid, most = site.web.process.pid, 0.0
    before = resident_mb(pid)
    page.run(f"head -c {256 * 1024**2} /dev/zero | tr '\\0' x; echo; echo e''nd")
    page.wait_for("xxxx")
    click(page.browser, By.ID, "settings-open")
    page.type(Keys.ESCAPE)
    click(page.browser, By.CSS_SELECTOR, "[role=tab]")
    page.type(Keys.ARROW_RIGHT, Keys.ENTER)
    click(page.browser, By.CSS_SELECTOR, ".screen .xterm-screen")
    assert "\nend\n" not in page.text(), "the page has answered before the end"
    while "\nend\n" not in page.text():
        most = max(most, resident_mb(pid) - before)
    assert most < 20
    assert page.browser.execute_script("return performance.memory.usedJSHeapSize") < 200_000_000
    page.run("echo st''ill here")
    page.wait_for("still here")


def test_several_terminals_are_tabs(page: TerminalPage) -> None:
    page.run("echo first terminal")
    click(page.browser, By.CSS_SELECTOR, "[role=tab]")
    page.open()
    assert page.tabs() == ["Hosts", "host", "host 2"]
    assert "first terminal" not in page.text()
    page.type(LEAVE)
    assert page.focused() == "host 2"
    page.type(Keys.ARROW_LEFT, Keys.ENTER)
    page.wait_for("first terminal")
    page.find("[data-tool=close]").click()
    assert "The programs that run in it end." in page.dialog()
    click(page.browser, By.CSS_SELECTOR, "dialog[open] [value=yes]")
    seconds_until(lambda: page.tabs() == ["Hosts", "host 2"])


def test_sign_out_asks_and_closes_the_terminals(page: TerminalPage) -> None:
    click(page.browser, By.CSS_SELECTOR, "#sign-out button")
    assert "1 terminal will be closed" in page.dialog()
    click(page.browser, By.CSS_SELECTOR, "dialog[open] [value=yes]")
    seconds_until(lambda: page.browser.title.startswith("Sign in"))
    page.sign_in()
    seconds_until(lambda: page.browser.find_element(By.CSS_SELECTOR, "#targets button").is_enabled())
    assert not page.browser.find_element(By.ID, "still-open").is_displayed()


def test_search_finds_text_and_returns_to_the_terminal(page: TerminalPage) -> None:
    page.run("for i in $(seq 300); do echo item $i; done")
    page.wait_for("\nitem 300\n")
    page.type(Keys.CONTROL + Keys.SHIFT + "f" + Keys.NULL)
    seconds_until(lambda: page.focused() == "Search in the output")
    page.type("item 29")
    seconds_until(lambda: page.find(".count").text == "11 of 11")
    page.type(Keys.ENTER)
    seconds_until(lambda: page.find(".count").text == "10 of 11")
    page.type(Keys.SHIFT + Keys.ENTER + Keys.NULL)
    seconds_until(lambda: page.find(".count").text == "11 of 11")
    page.type("x")
    seconds_until(lambda: page.find(".count").text == "no match")
    page.type(Keys.ESCAPE)
    assert page.focused() == "Terminal input"


def test_page_takes_the_whole_screen_and_gives_it_back(page: TerminalPage) -> None:
    button = page.find("[data-tool=full]")
    button.click()
    seconds_until(lambda: button.get_attribute("aria-pressed") == "true")
    button.click()
    seconds_until(lambda: button.get_attribute("aria-pressed") == "false")


def test_settings_change_the_terminal_at_once_and_stay(page: TerminalPage) -> None:
    rows = "return document.querySelectorAll('.xterm-rows > div').length"
    before = page.browser.execute_script(rows)
    click(page.browser, By.ID, "settings-open")
    size = page.browser.find_element(By.ID, "set-size")
    size.clear()
    size.send_keys("30", Keys.TAB)
    click(page.browser, By.CSS_SELECTOR, "#set-theme option[value=contrast]")
    seconds_until(lambda: page.browser.execute_script(rows) < before)
    page.type(Keys.ESCAPE)
    page.browser.refresh()
    page.wait_for_state("Connected")
    script = (
        "return [document.documentElement.dataset.theme, getComputedStyle(document.querySelector('.xterm-rows')).color]"
    )
    assert page.browser.execute_script(script) == ["contrast", "rgb(255, 255, 255)"]
    seconds_until(lambda: page.browser.execute_script(rows) < before)
