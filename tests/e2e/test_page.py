"""Tests page and ssh together: a person reads the command in the browser and runs it."""

import shlex
import time
from collections.abc import Callable

import pytest
from e2e.conftest import Keys, Site
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.conftest import browse  # noqa: F401 - a fixture

pytestmark = pytest.mark.web


def seconds_from_login_to_page(site: Site, keys: Keys, browser: WebDriver) -> float:
    challenge = site.identity.open_challenge("alice", app="Webmail")
    browser.get(challenge["page_url"])
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "Webmail" in text
    command = next(line for line in text.splitlines() if line.startswith("ssh "))
    assert command == challenge["ssh_command"]
    done = site.sshd.ssh(keys("alice"), shlex.split(command)[-1])
    ended = time.monotonic()
    assert done.returncode == 0
    while "passed" not in browser.find_element(By.CSS_SELECTOR, "[role=status]").text.lower():
        assert time.monotonic() - ended < 10
        time.sleep(0.02)
    return time.monotonic() - ended


def test_page_turns_to_passed_within_a_second_of_the_login_it_asked_for(
    site: Site,
    keys: Keys,
    browse: Callable[..., WebDriver],  # noqa: F811
) -> None:
    browser = browse()
    # the best of three: the machine that runs this may be busy with something else
    assert min(seconds_from_login_to_page(site, keys, browser) for _ in range(3)) < 1
