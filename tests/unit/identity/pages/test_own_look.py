"""Tests that pages have the name, the logo, the colour and the help of the operator, and that none of these is code."""

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.browser import Browser
from service.service import SETTINGS, Service

from sshaft_identity.service.app import create_app
from sshaft_identity.service.named_files import read_named_files
from sshaft_identity.service.reload import Reload
from sshaft_identity.settings import Settings, changed, save

LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0h9"></path></svg>'
IMAGE = "data:image/svg+xml;base64," + b64encode(LOGO.encode()).decode()
DASH = "\N{EN DASH}"
HOSTILE = "</title></style><script>alert(1)</script>'\"&{{7*7}}"


def looks(service: Service, directory: Path, **members: Any) -> None:
    settings = changed(SETTINGS, members)
    named = read_named_files(settings, directory)
    service.replace(settings=settings, look=named.look)


def pages_of(service: Service) -> dict[str, str]:
    """Returns every kind of page, by its path."""
    browser = Browser(service)
    paths = ["/", service.open(app="Webmail")["page_url"], "/enrol/nosuch", "/challenge/nosuch"]
    found = {path: browser.get(path, headers={"Accept": "text/html"}).text for path in [*paths, "/nosuch"]}
    browser.sign_in("alice", service.add_user("alice", ed25519("alice"))[0])
    return found | {path: browser.get(path).text for path in ("/account/keys", "/account/activity")}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "logo.svg").write_text(LOGO)
    (tmp_path / "dark.svg").write_text(LOGO.replace("h9", "h8"))
    return tmp_path


def test_every_page_has_name_colour_and_help(service: Service, files: Path) -> None:
    help_text = {"text": "Call 4711.", "link": "https://help.example.org/", "label": "Help"}
    looks(service, files, appearance={"name": "Example <U>", "colour": "#7a1f5c"}, help={"every_page": help_text})
    for path, page in pages_of(service).items():
        assert '<p class="service">Example &lt;U&gt;</p>' in page, path
        assert f" {DASH} Example &lt;U&gt;</title>" in page, path
        assert ":root{--accent:#7a1f5c;" in page, path
        assert 'Call 4711. <a href="https://help.example.org/" rel="noreferrer">Help</a></p>' in page, path


def test_logo_takes_the_place_of_the_name_and_has_it_as_its_words(service: Service, files: Path) -> None:
    looks(service, files, appearance={"name": "Example", "logo": "logo.svg"})
    for path, page in pages_of(service).items():
        assert f'<picture><img src="{IMAGE}" alt="Example"></picture></p>' in page, path
    looks(service, files, appearance={"name": "Example", "logo": "logo.svg", "logo_dark": str(files / "dark.svg")})
    page = Browser(service).get("/").text
    source = page.partition('<source srcset="data:image/svg+xml;base64,')[2].partition('"')[0]
    assert "h8" in b64decode(source).decode()
    assert 'media="(prefers-color-scheme: dark)"' in page


def test_pages_without_a_look_are_as_before(service: Service) -> None:
    for path, page in pages_of(service).items():
        for part in ('class="service"', "<img", f"{DASH} </title>", ".own{", "<picture"):
            assert part not in page, path


def test_name_and_help_are_text_and_never_html(service: Service, files: Path) -> None:
    """An operator may copy them from anywhere."""
    given = {"text": HOSTILE, "link": "https://help.example.org/'%22><script>", "label": HOSTILE}
    looks(service, files, appearance={"name": HOSTILE, "logo": "logo.svg"}, help={"every_page": given})
    for path, page in pages_of(service).items():
        assert page.count("<script") == page.count('<script nonce="'), path
        assert "alert(1)</script>" not in page, path
        assert page.count("</title>") == 1, path
        assert page.count("</style>") == 1, path
        assert "{{7*7}}" in page, path
    looks(service, files, appearance={"name": HOSTILE})
    assert "alert(1)</script>" not in Browser(service).get("/").text


def test_policy_takes_images_from_the_page_alone(service: Service, files: Path) -> None:
    looks(service, files, appearance={"name": "Example", "logo": "logo.svg"})
    policy = Browser(service).get("/").headers["Content-Security-Policy"]
    assert "img-src data:;" in policy
    assert "default-src 'none'" in policy


def test_icon_of_the_tab_has_the_colour_where_it_shows_no_outcome(service: Service, files: Path) -> None:
    looks(service, files, appearance={"colour": "#7a1f5c"})
    opened, browser = service.open(), Browser(service)
    assert "%237a1f5c" in browser.get(opened["page_url"]).text.partition("<title")[0]
    service.reject(challenge=opened["id"])
    assert "%23a03a2d" in browser.get(opened["page_url"]).text.partition("<title")[0]


def test_reload_shows_the_new_look_and_refuses_a_wrong_one(service: Service, files: Path) -> None:
    app = create_app(service.store, SETTINGS, service.clock)
    reload = Reload(app, files, Settings())
    good = Settings.model_validate({"appearance": {"name": "Example", "logo": "logo.svg", "colour": "#7a1f5c"}})
    save(files, good)
    reload()
    assert (app.state.sshaft.look.name, app.state.sshaft.look.logo) == ("Example", IMAGE)
    (files / "logo.svg").write_text(LOGO.replace("<path", "<script/><path"))
    reload()
    assert app.state.sshaft.look.logo == IMAGE, "the old one is in use"
    (files / "identity.json").write_text(json.dumps({"appearance": {"colour": "#ffff00"}}))
    reload()
    assert app.state.sshaft.settings.appearance.colour == "#7a1f5c"
