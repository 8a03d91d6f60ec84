"""Takes the pictures of the documentation, so that they show the pages as they are.

`SSHAFT_PICTURES=write ./dev test tests/web/test_pictures.py` writes them into docs/images.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.public_keys import ed25519
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import click, seconds_until, title, wait_for_script
from web.pictures import IMAGES, Pictures, folder
from web.served import Identity

from sshaft.public_key import parse
from sshaft_identity.commands.shared import open_store
from sshaft_identity.enrolment.enrolment import Presentation
from sshaft_identity.settings import load

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def pictures(tmp_path: Path, browser: WebDriver) -> Pictures:
    return Pictures(browser, folder(tmp_path), width=760, most_bytes=120_000)


def test_pictures_of_a_login(identity: Identity, pictures: Pictures) -> None:
    opened = identity.open("--app", "Webmail")
    pictures.browser.get(opened["page_url"])
    wait_for_script(pictures.browser)
    pictures.take("challenge")


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


def test_a_test_takes_every_picture_and_a_page_shows_it() -> None:
    sources = "".join(each.read_text() for kind in ("web", "providers") for each in (TESTS / kind).glob("test_*.py"))
    pages = "".join(each.read_text() for each in IMAGES.parent.rglob("*.md"))
    pictures = {each.relative_to(IMAGES.parent): each for each in IMAGES.rglob("*.png")}
    assert [each for each in pictures.values() if f'take("{each.stem}"' not in sources] == []
    assert [name for name in pictures if f"{name})" not in pages] == []
    assert sum(each.stat().st_size for each in pictures.values()) < 1_500_000
