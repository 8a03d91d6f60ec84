"""Drives the pages of the real privacyIDEA with a browser, as its administrator."""

from dataclasses import dataclass
from functools import partial

from providers.privacyidea import ADMINISTRATOR, PrivacyIdea
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from web.looking import click, seconds_until

WIDTH = 1500
"""Of the window, in pixels. In a narrow window the entries of the menu are behind "More"."""


@dataclass
class Pages:
    server: PrivacyIdea
    browser: WebDriver

    def sign_in(self) -> None:
        self.browser.get(f"{self.server.url}/app/v2/login")
        seconds_until(lambda: self.browser.find_element(By.ID, "username").is_displayed())
        self.browser.find_element(By.ID, "username").send_keys(ADMINISTRATOR)
        self.browser.find_element(By.ID, "password").send_keys(self.server.password)
        self.press("Log In")
        for button in ("Next", "Next", "Next", "Dive In"):  # the welcome of the first login
            self.press(button)
        seconds_until(lambda: not self.browser.find_elements(By.TAG_NAME, "mat-dialog-container"))

    def open(self, *menu: str) -> None:
        """Clicks these entries of the menu, one after the other."""
        for entry in menu:
            seconds_until(partial(self._clicked, entry))

    def _clicked(self, entry: str) -> bool:
        links = self.browser.find_elements(By.XPATH, f"//a[contains(normalize-space(), '{entry}')]")
        seen = [each for each in links if each.is_displayed()]
        for each in seen[:1]:
            each.click()
        return bool(seen)

    def press(self, name: str) -> None:
        click(self.browser, By.XPATH, f"//button[not(@disabled)][contains(normalize-space(), '{name}')]")

    def field(self, label: str) -> WebElement:
        return self.browser.find_element(
            By.XPATH, f"//mat-form-field[.//mat-label[starts-with(normalize-space(), '{label}')]]"
        )

    def type(self, label: str, text: str) -> None:
        """Waits for the field, and types the text."""
        seconds_until(lambda: self.field(label).is_displayed())
        self.field(label).find_element(By.TAG_NAME, "input").send_keys(text)

    def choose(self, field: WebElement, option: str) -> None:
        """Chooses an option of the field."""
        field.find_element(By.TAG_NAME, "mat-select").click()
        click(self.browser, By.XPATH, f"//mat-option[contains(normalize-space(), '{option}')]")

    def wait_for(self, text: str) -> str:
        """Waits for the text, and returns all text of the page."""
        seconds_until(lambda: text in self.browser.find_element(By.TAG_NAME, "body").text)
        return self.browser.find_element(By.TAG_NAME, "body").text
