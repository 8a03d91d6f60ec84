"""Tests in a real browser what the pages say while the service or its database is away."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import seconds_until, title, wait_for_script
from web.served import command, running

from sshaft_demo.parts import free_port

PATIENCE = 90
"""Seconds. The page notices an outage within 15 seconds, or four seconds if the service itself is away."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "identity"
    command(directory, "init", "--listen", f"127.0.0.1:{free_port()}", "--ssh-host", "login.example.org")
    command(directory, "user", "add", "alice")
    return directory


@contextmanager
def database_away(directory: Path) -> Iterator[None]:
    """Renames tables that the service reads."""

    def rename(before: str, after: str) -> None:
        with closing(sqlite3.connect(directory / "identity.db", timeout=30, isolation_level=None)) as database:
            for table in ("challenges", "enrolments", "audit_events"):
                database.execute(f"ALTER TABLE {before}{table} RENAME TO {after}{table}")

    rename("", "away_")
    yield
    rename("away_", "")


def says_trouble(browser: WebDriver) -> bool:
    return browser.find_element(By.ID, "trouble").is_displayed()


def open_page(directory: Path, url: str, browser: WebDriver) -> dict[str, str]:
    opened: dict[str, str] = json.loads(command(directory, "challenge", "open", "alice", "--json"))
    browser.get(url + opened["page_url"][opened["page_url"].index("/challenge/") :])
    wait_for_script(browser)
    assert not says_trouble(browser)
    return opened


def cancel(directory: Path, opened: dict[str, str]) -> None:
    command(directory, "challenge", "cancel", opened["id"])


def test_challenge_page_says_that_the_service_is_away_and_goes_on_when_it_is_back(
    directory: Path, browser: WebDriver
) -> None:
    """Finding U14: the page said "Waiting" while nothing could pass."""
    with running(directory) as url:
        opened = open_page(directory, url, browser)
    seconds_until(lambda: says_trouble(browser), PATIENCE)
    seconds_until(lambda: browser.find_element(By.ID, "left").text.startswith("Not connected, "))
    with running(directory):
        seconds_until(lambda: not says_trouble(browser), PATIENCE)
        seconds_until(lambda: browser.find_element(By.ID, "left").text.startswith("Waiting, "))
        cancel(directory, opened)
        seconds_until(lambda: title(browser) == "Cancelled", PATIENCE)


@pytest.mark.parametrize("without_streams", [False, True], ids=["event stream", "long poll"])
def test_challenge_page_says_that_the_database_is_away_and_goes_on_when_it_is_back(
    directory: Path, browser: WebDriver, without_streams: bool
) -> None:
    """Finding U14."""
    with running(directory) as url:
        if without_streams:
            browser.execute_cdp_cmd("Network.enable", {})
            browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/events"]})
        opened = open_page(directory, url, browser)
        with database_away(directory):
            seconds_until(lambda: says_trouble(browser), PATIENCE)
        seconds_until(lambda: not says_trouble(browser), PATIENCE)
        cancel(directory, opened)
        seconds_until(lambda: title(browser) == "Cancelled", PATIENCE)


def test_enrolment_page_says_that_the_service_is_away(directory: Path, browser: WebDriver) -> None:
    """Finding U14."""
    with running(directory) as url:
        invited = json.loads(command(directory, "invite", "alice", "--json"))
        browser.get(url + invited["page_url"][invited["page_url"].index("/enrol/") :])
        wait_for_script(browser)
        with database_away(directory):
            seconds_until(lambda: says_trouble(browser), PATIENCE)
        seconds_until(lambda: not says_trouble(browser), PATIENCE)
    seconds_until(lambda: says_trouble(browser), PATIENCE)


def test_page_that_is_opened_during_an_outage_loads_itself_again(
    directory: Path, browse: Callable[..., WebDriver]
) -> None:
    """Finding U14: a browser without scripts showed JSON, and nothing followed."""
    browser = browse(preferences={"profile.managed_default_content_settings.javascript": 2})
    with running(directory) as url:
        opened = json.loads(command(directory, "challenge", "open", "alice", "--json"))
        with database_away(directory):
            browser.get(url + opened["page_url"][opened["page_url"].index("/challenge/") :])
            assert title(browser) == "Not available now"
        seconds_until(lambda: title(browser) == "Confirm with SSH", PATIENCE)
