"""Takes the pictures of the documentation, so that they show the pages as they are.

`SSHAFT_PICTURES=write ./dev test tests/web/test_pictures.py` writes them into docs/images.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.public_keys import ed25519
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import click, seconds_until, title, wait_for_script
from web.served import Identity

from sshaft.public_key import parse
from sshaft_identity.commands.shared import open_store
from sshaft_identity.enrolment.enrolment import Presentation
from sshaft_identity.settings import load

TOP = Path(__file__).resolve().parents[2]
IMAGES = TOP / "docs" / "images"
WIDTH = 760
MOST_BYTES = 120_000


class Pictures:
    """Writes what a browser shows, without the space below the page."""

    def __init__(self, browser: WebDriver, folder: Path) -> None:
        self.browser, self.folder = browser, folder

    def take(self, name: str) -> None:
        self._set_height(200)
        self._set_height(self.browser.execute_script("return document.documentElement.scrollHeight"))
        picture = self.browser.get_screenshot_as_png()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < MOST_BYTES
        (self.folder / f"{name}.png").write_bytes(picture)

    def _set_height(self, height: int) -> None:
        size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.fixture
def pictures(tmp_path: Path, browser: WebDriver) -> Pictures:
    return Pictures(browser, IMAGES if os.environ.get("SSHAFT_PICTURES") == "write" else tmp_path)


def test_pictures_of_a_login(identity: Identity, pictures: Pictures) -> None:
    opened = identity.open("--app", "Webmail")
    pictures.browser.get(opened["page_url"])
    wait_for_script(pictures.browser)
    pictures.take("challenge")
    waits = title(pictures.browser)
    identity.accept(opened)
    seconds_until(lambda: title(pictures.browser) != waits)
    pictures.take("passed")


def test_pictures_of_a_registration(identity: Identity, pictures: Pictures) -> None:
    identity.run("user", "add", "carol")
    invited = json.loads(identity.run("invite", "carol", "--json"))
    page = invited["page_url"]
    pictures.browser.get(identity.url + page[page.index("/enrol/") :])
    wait_for_script(pictures.browser)
    pictures.take("invitation")
    waits = title(pictures.browser)
    settings = load(identity.directory)
    shown = Presentation(parse(ed25519("carol")), "192.0.2.7", name="carol@laptop")
    with open_store(identity.directory, settings) as store:
        store.enrolments.present(invited["code"].replace("-", ""), shown, datetime.now(UTC), settings.key_policy)
    seconds_until(lambda: title(pictures.browser) != waits)
    pictures.take("compare")
    click(pictures.browser, By.CSS_SELECTOR, "button[value=confirm]")
    seconds_until(lambda: "egistered" in title(pictures.browser))
    pictures.take("registered")


def test_every_picture_of_the_documentation_is_taken_here() -> None:
    source = Path(__file__).read_text()
    assert [each.stem for each in IMAGES.glob("*.png") if f'take("{each.stem}")' not in source] == []
