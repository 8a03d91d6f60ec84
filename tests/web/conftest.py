"""A real `sshaft identity serve` on a free port, and Debian's Chromium in front of it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.remote.webdriver import WebDriver

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


@dataclass(frozen=True)
class Identity:
    """The service: its command line, its address, and a client that may do everything."""

    directory: Path
    url: str
    secret: str
    fingerprint: str

    def run(self, *arguments: str) -> str:
        return command(self.directory, *arguments)

    def open(self, *options: str) -> dict[str, str]:
        opened: dict[str, str] = json.loads(self.run("challenge", "open", "alice", "--json", *options))
        return opened | {"page_url": self.url + opened["page_url"][opened["page_url"].index("/challenge/") :]}

    def accept(self, opened: dict[str, str], code: str | None = None) -> requests.Response:
        body = {"challenge": opened["id"], "code": code or opened["code"], "fingerprint": self.fingerprint}
        return self.post("/api/v1/mfa/ssh/accept", body)

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        form = {"grant_type": "client_credentials", "client_id": "test", "client_secret": self.secret}
        token = requests.post(f"{self.url}/oauth2/token", data=form, timeout=5).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(self.url + path, json={"user": "alice"} | body, headers=headers, timeout=5)


def command(directory: Path, *arguments: str) -> str:
    line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), *arguments]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=30).stdout


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
