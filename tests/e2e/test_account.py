"""Tests the sign-in to "my keys" by SSH, with a real browser, a real sshd and a real ssh."""

import shlex
from collections.abc import Callable

import pytest
from e2e.conftest import Keys, Site
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.conftest import browse  # noqa: F401 - a fixture
from web.looking import seconds_until, title

pytestmark = pytest.mark.web


def begin(site: Site, browser: WebDriver) -> str:
    """Begins a sign-in, and returns the code of the command on the page."""
    browser.get(site.identity.url)
    browser.find_element(By.TAG_NAME, "button").click()
    seconds_until(lambda: title(browser) == "Confirm with SSH")
    return shlex.split(browser.find_element(By.ID, "command").text)[-1]


def test_ssh_signs_the_browser_in_that_showed_the_command(
    site: Site,
    keys: Keys,
    browse: Callable[..., WebDriver],  # noqa: F811
) -> None:
    browser, other = browse(), browse()
    code = begin(site, browser)
    begin(site, other)
    done = site.sshd.ssh(keys("bob"), code)
    assert done.returncode == 0, done.stderr
    seconds_until(lambda: title(browser) == "My keys")
    assert "bob" in browser.find_element(By.CSS_SELECTOR, ".top .brand").text, "whoever's key it was is signed in"
    shown = browser.find_element(By.CSS_SELECTOR, ".key").text
    assert "just now from 127.0.0.1" in shown
    assert title(other) == "Confirm with SSH", "nobody else is"
    browser.get(f"{site.identity.url}/account/activity")
    activity = browser.find_element(By.TAG_NAME, "main").text
    assert "Signed in to my keys with ssh" in activity
    assert "Login to My keys Passed" in activity
