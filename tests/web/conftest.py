"""A real `sshaft identity serve` on a free port, and Debian's Chromium in front of it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.remote.webdriver import WebDriver
from web.served import Identity, command

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


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    base = tmp_path_factory.mktemp("identity")
    directory = base / "directory"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", base / "key"], check=True, timeout=10)
    command(directory, "init", "--listen", "127.0.0.1:0", "--ssh-host", "login.example.org", "--ssh-port", "2222")
    command(directory, "user", "add", "alice")
    fingerprint = command(directory, "key", "add", "alice", str(base / "key.pub")).split()[0]
    scopes = ("--scope", "mfa:list", "--scope", "mfa:accept", "--scope", "challenges")
    secret = json.loads(command(directory, "client", "add", "test", "--json", *scopes))["client_secret"]
    line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), "serve"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            ready = json.loads(process.stderr.readline())
            assert ready["event"] == "identity.ready"
            yield Identity(directory, ready["address"], secret, fingerprint)
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., WebDriver]]:
    """Starts browsers; `preferences` and more flags as the test needs them."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    started: list[WebDriver] = []

    def start(*flags: str, preferences: dict[str, Any] | None = None) -> WebDriver:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, *flags, f"--user-data-dir={tmp_path / f'profile{len(started)}'}"):
            options.add_argument(flag)
        options.add_experimental_option("prefs", preferences or {})
        browser = webdriver.Chrome(options, Driver(driver, log_output=os.devnull))
        started.append(browser)
        return browser

    yield start
    for browser in started:
        browser.quit()


@pytest.fixture
def browser(browse: Callable[..., WebDriver]) -> WebDriver:
    return browse()
