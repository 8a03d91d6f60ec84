"""Uses the page of `sshaft web` in a real Chromium without a screen."""

import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from sshaft.errors import SshaftError
from sshaft_demo.place import StartError

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
          "--disable-background-networking", "--disable-component-update", "--disable-sync",
          "--window-size=1100,800")  # fmt: skip
_SECONDS = 30.0


class NoBrowserError(SshaftError):
    """There is no Chromium, or selenium is not installed."""

    code = "no_browser"


class Browser:
    """Chromium with a profile of its own in `directory`. Raises `NoBrowserError`."""

    def __init__(self, directory: Path) -> None:
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if not chromium or not driver:
            raise NoBrowserError("Chromium is not installed: apt-get install chromium chromium-driver")
        try:
            from selenium import webdriver  # noqa: PLC0415 - only developers have it
            from selenium.webdriver.chrome.service import Service  # noqa: PLC0415 - as above
        except ModuleNotFoundError:
            raise NoBrowserError("selenium is not installed: ./dev setup test") from None
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*_FLAGS, f"--user-data-dir={directory}"):
            options.add_argument(flag)
        self._driver: Any = webdriver.Chrome(options, Service(driver, log_output=os.devnull))

    def sign_in(self, url: str, user: str) -> None:
        """Signs a person in at the throwaway provider."""
        self._driver.get(url)
        self._click('a[href="/sign-in"]')
        self._find("select[name=user]").send_keys(user)
        self._click("form button")
        self._find("#targets")

    def open(self, target: str) -> None:
        """Opens a terminal on a host, and waits for its prompt."""
        self._click(f'form[data-host="{target}"] button:enabled')
        self.wait_for("$")

    def type(self, text: str) -> None:
        """Types into the terminal that is shown."""
        self._find(".terminal:not([hidden]) textarea.xterm-helper-textarea").send_keys(text)

    def wait_for(self, text: str, seconds: float = _SECONDS) -> str:
        """Returns what the terminal shows, as soon as `text` is in it."""
        self._until(lambda: text in self.screen(), f"the terminal does not show {text}", seconds)
        return self.screen()

    def wait_for_state(self, text: str) -> str:
        """Returns what the page says of the terminal, as soon as `text` is in it."""
        self._until(lambda: text in self._state(), f"the page does not say {text}")
        return self._state()

    def screen(self) -> str:
        """Returns the rows of the terminal that is shown. They are empty before it is there."""
        rows = self._all(".terminal:not([hidden]) .xterm-rows > div")
        return "\n".join(row.text.rstrip() for row in rows).rstrip()

    def _state(self) -> str:
        return " ".join(
            each.text for each in self._all(".terminal:not([hidden]) .state, .terminal:not([hidden]) .notices")
        )

    def _click(self, selector: str) -> None:
        self._find(selector).click()

    def _find(self, selector: str) -> Any:
        self._until(lambda: bool(self._all(selector)), f"the page has no {selector}")
        return self._all(selector)[0]

    def _all(self, selector: str) -> list[Any]:
        found: list[Any] = self._driver.find_elements("css selector", selector)
        return found

    def _until(self, is_so: Callable[[], bool], what: str, seconds: float = _SECONDS) -> None:
        """Waits until `is_so()`. Raises `StartError`. An element that the page replaces is looked for again."""
        from selenium.common.exceptions import StaleElementReferenceException  # noqa: PLC0415 - only developers have it

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(StaleElementReferenceException):
                if is_so():
                    return
            time.sleep(0.02)
        page = re.sub(r"\s+", " ", self._driver.find_element("css selector", "body").text)[:1000]
        raise StartError(f"{what}: {self._driver.current_url.partition('?')[0]}: {page}")

    def close(self) -> None:
        self._driver.quit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
