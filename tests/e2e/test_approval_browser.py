"""Tests a login that a person approves in Chromium, from the address that ssh shows to the shell."""

from collections.abc import Callable, Iterator

import pytest
from e2e.approvals import ApprovalHost, approval_host_in
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.conftest import browse  # noqa: F401 - a fixture
from web.looking import click, seconds_until

from sshaft_demo.approval import ASKS
from sshaft_demo.place import Place

pytestmark = pytest.mark.web
Browse = Callable[..., WebDriver]


@pytest.fixture(scope="module")
def host() -> Iterator[ApprovalHost]:
    with Place() as place, approval_host_in(place) as host:
        yield host


def state_of(browser: WebDriver) -> str:
    return browser.find_element(By.ID, "card").get_attribute("data-state") or ""


def wait_for_state(browser: WebDriver, state: str) -> None:
    seconds_until(lambda: state_of(browser) == state)


@pytest.mark.parametrize("answer", ["approve", "report"])
def test_person_answers_in_a_browser(host: ApprovalHost, browse: Browse, answer: str) -> None:  # noqa: F811
    terminal, visit = host.begin("echo in")
    browser = browse()
    browser.get(visit.address)
    wait_for_state(browser, "sign_in")
    click(browser, By.CSS_SELECTOR, "a.button.primary")
    seconds_until(lambda: browser.current_url.startswith(host.provider.issuer))
    click(browser, By.TAG_NAME, "button")
    wait_for_state(browser, "pending")
    facts = browser.find_element(By.CSS_SELECTOR, "dl.facts").text
    assert host.place.person in facts
    assert "127.0.0.1" in facts
    if answer == "report":
        click(browser, By.CSS_SELECTOR, "button.danger")
        wait_for_state(browser, "reported")
        terminal.type("\n")
        assert "denied in the browser" in terminal.wait_for("Reference")
        terminal.type("\x03")
        assert terminal.end()[1] != 0
        return
    click(browser, By.CSS_SELECTOR, "button.primary")
    wait_for_state(browser, "approved")
    digits = browser.find_element(By.ID, "digits").text.replace(" ", "").replace("\n", "")
    terminal.type("000000\n" if digits != "000000" else "111111\n")
    terminal.wait_for(ASKS)
    seconds_until(lambda: bool(browser.find_elements(By.ID, "wrong")))
    terminal.type(f"{digits}\n")
    assert terminal.end()[1] == 0
    wait_for_state(browser, "passed")
