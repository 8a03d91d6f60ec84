"""Starts a real `sshaft identity serve` on a free port, and Debian's Chromium."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.web_site import WebSite, web_site
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.remote.webdriver import WebDriver
from web.served import Identity, command, serving

from sshaft_demo.place import Place

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,800",
)


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    """Returns `sshaft web` with a host, at the throwaway provider."""
    with Place() as place, web_site(place) as site:
        yield site


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    base = tmp_path_factory.mktemp("identity")
    directory = base / "directory"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", base / "key"], check=True, timeout=10)
    command(directory, "init", "--listen", "127.0.0.1:0", "--ssh-host", "login.example.org", "--ssh-port", "2222",
            "--ssh-host-key", str(base / "key.pub"))  # fmt: skip
    command(directory, "user", "add", "alice")
    fingerprint = command(directory, "key", "add", "alice", str(base / "key.pub")).split()[0]
    with serving(directory, fingerprint) as identity:
        yield identity


@contextmanager
def starting_browsers(directory: Path) -> Iterator[Callable[..., WebDriver]]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    started: list[WebDriver] = []

    def start(*flags: str, preferences: dict[str, Any] | None = None) -> WebDriver:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, *flags, f"--user-data-dir={directory / f'profile{len(started)}'}"):
            options.add_argument(flag)
        options.add_experimental_option("prefs", preferences or {})
        browser = webdriver.Chrome(options, Driver(driver, log_output=os.devnull))
        started.append(browser)
        return browser

    yield start
    for browser in started:
        browser.quit()


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., WebDriver]]:
    """Returns a function that starts a browser with `preferences` and more flags."""
    with starting_browsers(tmp_path) as start:
        yield start


@pytest.fixture(scope="session")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with starting_browsers(tmp_path_factory.mktemp("browser")) as start:
        yield start()


@pytest.fixture
def used_browser(one_browser: WebDriver) -> WebDriver:
    """Returns the shared browser for tests that only look at pages: desktop size, no cookies, an empty log."""
    for method in ("Emulation.clearDeviceMetricsOverride", "Network.clearBrowserCookies"):
        one_browser.execute_cdp_cmd(method, {})
    one_browser.get("about:blank")
    one_browser.get_log("browser")  # type: ignore[attr-defined]
    return one_browser


@pytest.fixture
def browser(browse: Callable[..., WebDriver]) -> WebDriver:
    return browse()
