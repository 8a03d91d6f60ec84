"""Tests that terminals outlive reloads, closed tabs and a lost network, in a real browser with a real sshd."""

import re
from collections.abc import Iterator

import pytest
from e2e.web_site import WebSite, web_site
from fakes.relay import Relay, relay
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import click, seconds_until
from web.terminal_page import TerminalPage

from sshaft_demo.place import Place


@pytest.fixture(scope="module")
def network() -> Iterator[Relay]:
    with relay() as network:
        yield network


@pytest.fixture(scope="module")
def site(network: Relay) -> Iterator[WebSite]:
    """Returns a site that browsers reach through the network."""
    with Place() as place, web_site(place, public_url=f"http://localhost:{network.port}") as site:
        network.target = site.web.port
        yield site


@pytest.fixture
def page(site: WebSite, network: Relay, used_browser: WebDriver) -> Iterator[TerminalPage]:
    url = f"http://localhost:{network.port}"
    with TerminalPage(used_browser, url, site.place.person).in_own_tab() as page:
        page.begin()
        yield page
        network.mend()


def seconds_to_the_next_try(page: TerminalPage) -> int:
    """Returns the seconds that the page says, which grow from try to try."""
    found = re.search(r"Next try in (\d+) s", page.state())
    return int(found[1]) if found else 0


def test_reload_goes_on_with_the_same_shell_and_the_same_screen(page: TerminalPage) -> None:
    page.run("kept=yes; clear; printf '\\033[31mred\\033[m text\\n'")
    page.wait_for("red text\n$")
    page.browser.refresh()
    page.wait_for_state("Connected")
    seconds_until(lambda: page.text() == "red text\n$")
    red = "return [...document.querySelectorAll('.xterm-rows span')].find((span) => span.textContent === 'red')"
    assert page.browser.execute_script(red).value_of_css_property("color") == "rgba(160, 58, 45, 1)"
    page.run("echo kept=$kept")
    page.wait_for("kept=yes")


def test_reload_shows_the_same_tab_of_several(page: TerminalPage) -> None:
    page.run("clear; echo fi''rst")
    page.wait_for("first")
    click(page.browser, By.CSS_SELECTOR, "[role=tab]")
    page.open()
    page.browser.find_elements(By.CSS_SELECTOR, "[role=tab]")[1].click()
    page.wait_for("first")
    page.browser.refresh()
    seconds_until(lambda: page.tabs() == ["Hosts", "host", "host 2"])
    page.wait_for("first")
    page.wait_for_state("Connected")


def test_output_during_a_reload_is_not_missed_and_not_shown_twice(page: TerminalPage) -> None:
    page.run("clear; for i in 1 2 3 4 5 6 7 8 9; do echo line $i; sleep 0.3; done; echo fi''nished")
    page.wait_for("line 2")
    page.browser.refresh()
    page.wait_for("finished")
    assert [line for line in page.text().splitlines() if line.startswith("line")] == [f"line {i}" for i in range(1, 10)]


def test_reload_gives_no_second_answer_to_a_question_of_a_program(page: TerminalPage) -> None:
    page.run("clear; stty -echo -icanon; printf '\\033[6n'; sleep 1; head -c 6 | od -An -c; echo fi''rst")
    page.wait_for("first")
    page.run("stty echo icanon")
    page.browser.execute_script("addEventListener('pagehide', () => sessionStorage.clear())")  # as a new tab
    page.browser.refresh()
    click(page.browser, By.CSS_SELECTOR, "#still-open button")
    page.wait_for_state("Connected")
    page.wait_for("first")
    page.run("echo qui''et")
    page.wait_for("\nquiet\n")
    assert "[" not in page.text().partition("first")[2].replace("[6n", "")


def test_lost_network_is_said_and_the_terminal_goes_on_when_it_is_back(page: TerminalPage, network: Relay) -> None:
    page.run("clear; sleep 3; echo la''ter")
    network.cut()
    page.wait_for_state("The connection is lost. Next try in")
    assert page.announced().startswith("The connection is lost.")
    page.type("x")
    assert page.announced() == "Not sent: there is no connection."
    network.mend()
    page.wait_for_state("Connected", 60)
    page.wait_for("later\n$")
    page.run("echo ba''ck")
    page.wait_for("\nback\n")


def test_person_tries_again_without_waiting(page: TerminalPage, network: Relay) -> None:
    network.cut()
    seconds_until(lambda: seconds_to_the_next_try(page) >= 4, 30)
    network.mend()
    page.find("[data-part=action]").click()
    page.wait_for_state("Connected", 5)


def test_output_that_was_not_kept_is_named(page: TerminalPage, network: Relay) -> None:
    page.run("clear; sleep 2; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo fi''nished")
    network.cut()
    page.wait_for_state("The connection is lost.")
    seconds_until(lambda: seconds_to_the_next_try(page) >= 7, 30)
    network.mend()
    page.wait_for_state("Connected", 60)
    page.wait_for("finished")
    assert "of output came while this page was away and were not kept." in page.notices()[0]


def test_closed_tab_leaves_the_terminal_to_the_next_one(page: TerminalPage) -> None:
    page.run("kept=yes; clear; echo before")
    page.wait_for("before\n$")
    first = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    page.browser.get(page.url)
    seconds_until(lambda: page.browser.find_element(By.ID, "still-open").is_displayed())
    assert "shown in another tab or window" in page.browser.find_element(By.ID, "still-open").text
    click(page.browser, By.CSS_SELECTOR, "#still-open button")
    page.wait_for_state("Connected")
    page.wait_for("before")
    second = page.browser.current_window_handle
    page.browser.switch_to.window(first)
    page.wait_for_state("This terminal is open in another tab or window.")
    page.find("[data-part=action]").click()
    page.wait_for_state("Connected")
    page.run("echo kept=$kept")
    page.wait_for("kept=yes")
    page.browser.switch_to.window(second)
    page.wait_for_state("This terminal is open in another tab or window.")
    page.browser.close()
    page.browser.switch_to.window(first)


def test_sign_out_in_another_tab_ends_the_terminal(page: TerminalPage) -> None:
    page.browser.execute_script("fetch('/sign-out', { method: 'POST' })")
    page.wait_for_state("You are signed out, so the terminal was closed.")
    page.find("[data-part=action]").click()
    seconds_until(lambda: bool(page.browser.find_elements(By.NAME, "user")))
