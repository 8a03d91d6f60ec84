"""Drives the page of `sshaft web` in a browser, as a person does."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from web.looking import click, seconds_until

SHOWN = "section.terminal:not([hidden])"
LEAVE = Keys.CONTROL + Keys.F6 + Keys.NULL


@dataclass
class TerminalPage:
    """The page at `url`. `user` is the person at the throwaway provider."""

    browser: WebDriver
    url: str
    user: str
    windows: int = 0
    """How many windows and tabs the browser had when this page was opened in its own one."""

    @contextmanager
    def in_own_tab(self) -> Iterator["TerminalPage"]:
        """Shows the page in a new tab. At the end the person is signed out, and the browser has forgotten all."""
        before = self.browser.current_window_handle
        self.browser.switch_to.new_window("tab")
        self.windows = len(self.browser.window_handles)
        try:
            yield self
        finally:
            script = "fetch('/sign-out', { method: 'POST' }).finally(arguments[0]); localStorage.clear()"
            with suppress(WebDriverException):
                self.browser.get(self.url)
                self.browser.execute_async_script(script)
            self.browser.close()
            self.browser.switch_to.window(before)

    def sign_in(self) -> None:
        self.browser.get(self.url)
        click(self.browser, By.LINK_TEXT, "Sign in with your organisation")
        seconds_until(lambda: bool(self.browser.find_elements(By.NAME, "user")))
        field = self.browser.find_element(By.NAME, "user")
        field.send_keys(self.user)
        field.submit()
        seconds_until(lambda: self.tabs() == ["Hosts"])
        self.errors()  # those of the provider's page

    def open(self) -> None:
        """Opens a terminal on the first host, and waits for its shell."""
        click(self.browser, By.CSS_SELECTOR, "#targets button")
        self.wait_for_state("Connected to")
        seconds_until(lambda: self.text().endswith("$"))

    def begin(self) -> "TerminalPage":
        """Signs in, and opens a terminal."""
        self.sign_in()
        self.open()
        return self

    def type(self, *keys: str) -> None:
        self.browser.switch_to.active_element.send_keys(*keys)

    def run(self, command: str) -> None:
        """Types a command for the shell."""
        self.type(command, Keys.ENTER)

    def wait_for(self, text: str) -> float:
        """Waits until the terminal shows the text. Returns the seconds."""
        return seconds_until(lambda: text in self.text())

    def wait_for_state(self, beginning: str, limit: float = 15) -> None:
        seconds_until(lambda: self.state().startswith(beginning), limit)

    def text(self) -> str:
        """Returns the text of the lines that the terminal shows."""
        script = "return [...document.querySelectorAll(arguments[0])].map((row) => row.textContent)"
        rows: list[str] = self.browser.execute_script(script, f"{SHOWN} .xterm-rows > div")
        return "\n".join(row.replace("\xa0", " ").rstrip() for row in rows).rstrip()

    def state(self) -> str:
        return self.find(".state .text").text

    def tabs(self) -> list[str]:
        return [each.text for each in self.browser.find_elements(By.CSS_SELECTOR, "[role=tab]")]

    def notices(self) -> list[str]:
        return [each.text for each in self.browser.find_elements(By.CSS_SELECTOR, f"{SHOWN} .notice p")]

    def announced(self) -> str:
        return str(self.browser.execute_script("return document.getElementById('announcements').textContent"))

    def dialog(self) -> str:
        """Returns the text of the open dialog."""
        return self.browser.find_element(By.CSS_SELECTOR, "dialog[open]").text

    def has_dialog(self) -> bool:
        return bool(self.browser.find_elements(By.CSS_SELECTOR, "dialog[open]"))

    def find(self, selector: str) -> WebElement:
        """Returns a part of the terminal that is shown."""
        return self.browser.find_element(By.CSS_SELECTOR, f"{SHOWN} {selector}")

    def focused(self) -> str:
        """Returns the name of the element that has the focus."""
        return self.browser.switch_to.active_element.accessible_name

    def paste(self, text: str) -> None:
        """Pastes as a browser does: with the event `paste`."""
        script = """
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", arguments[0]);
            const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
            document.activeElement.dispatchEvent(event);
        """
        self.browser.execute_script(script, text)

    def errors(self) -> list[str]:
        """Returns what the browser complains of since the last call, such as a breach of the policy."""
        log: list[dict[str, Any]] = self.browser.get_log("browser")  # type: ignore[attr-defined]
        return [each["message"] for each in log]
