"""Drives the pages of the real Glewlwyd with a browser, as an administrator and as a person."""

from collections.abc import Mapping
from dataclasses import dataclass

from providers.glewlwyd import PASSWORD, USER, Glewlwyd
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from web.looking import click, seconds_until


@dataclass
class Pages:
    """A browser at Glewlwyd. Its window must be at least 992 pixels wide: below that the menu is folded."""

    server: Glewlwyd
    browser: WebDriver

    def sign_in(self, page: str, scope: str, user: str = USER) -> None:
        """Types the password in the login for the scope, which leads to the page."""
        self.browser.get(f"{self.server.url}/login.html?callback_url={self.server.url}/{page}&scope={scope}")
        self.type({"username": user, "password": PASSWORD})
        click(self.browser, By.ID, "loginbut")
        seconds_until(lambda: not self._seen("#password", ""))

    def open(self, page: str, *menu: str) -> None:
        """Opens a page, and clicks through its menu."""
        self.browser.get(f"{self.server.url}/{page}")
        for entry in menu:
            click(self.browser, By.PARTIAL_LINK_TEXT, entry)

    def press(self, title: str) -> None:
        """Presses the first button with this title that is seen."""
        self._click_seen(f"button[title='{title}']", "")

    def choose(self, menu: str, entry: str) -> None:
        """Opens the menu of a form, and chooses the entry."""
        click(self.browser, By.ID, menu)
        self._click_seen(".modal .dropdown-menu a", entry)

    def type(self, values: Mapping[str, str]) -> None:
        """Types the values into the fields with these ids."""
        for name, value in values.items():
            seconds_until(lambda name=name: self.browser.find_element(By.ID, name).is_displayed())  # type: ignore[misc]
            element = self.browser.find_element(By.ID, name)
            element.clear()
            element.send_keys(value)

    def confirm(self, message: str) -> None:
        """Presses OK, and waits for the message."""
        self._click_seen(".modal-footer button", "OK")
        seconds_until(lambda: message in self.browser.find_element(By.TAG_NAME, "body").text)
        seconds_until(lambda: not self._seen(".modal-backdrop", ""))

    def _click_seen(self, selector: str, text: str) -> None:
        def clicked() -> bool:
            found = self._seen(selector, text)
            if found:
                found[0].click()
            return bool(found)

        seconds_until(clicked)

    def _seen(self, selector: str, text: str) -> list[WebElement]:
        found = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return [each for each in found if each.is_displayed() and text in each.text]
