"""Tests the operator's name, logo and colour in a real browser: they can be read, they fit, and a logo runs nothing."""

import base64
import json
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.axe import page_faults
from web.looking import (
    seconds_until,
    set_scheme,
    title,
    wait_for_script,
)
from web.served import Identity, command, running, serving

LOGO = """
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 40"><rect width="40" height="40" rx="8" fill="COLOUR"/>
<path d="M10 30V10l10 12 10-12v20" fill="none" stroke="#fff" stroke-width="4"/>
<text x="50" y="27" font-size="20" font-family="sans-serif" fill="COLOUR">Example</text></svg>
"""
APPEARANCE = {"name": "Example University", "logo": "logo.svg", "logo_dark": "dark.svg", "colour": "#7a1f5c"}
HELP = {
    "every_page": {"text": "Something is wrong?", "link": "mailto:help@example.org", "label": "Ask the service desk"}
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    directory = tmp_path_factory.mktemp("look") / "directory"
    command(directory, "init", "--listen", "127.0.0.1:0", "--ssh-host", "login.example.org")
    (directory / "logo.svg").write_text(LOGO.replace("COLOUR", "#7a1f5c"))
    (directory / "dark.svg").write_text(LOGO.replace("COLOUR", "#e9a3d0"))
    path = directory / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"appearance": APPEARANCE, "help": HELP}))
    command(directory, "check")
    command(directory, "user", "add", "alice")
    with serving(directory, "SHA256:" + "A" * 43) as site:
        yield site


def shown_logo(browser: WebDriver) -> tuple[str, int]:
    """Returns the SVG that the page shows, and its width if the browser could draw it."""
    image = browser.find_element(By.CSS_SELECTOR, ".service img")
    address: str = browser.execute_script("return arguments[0].currentSrc", image)
    seconds_until(lambda: bool(browser.execute_script("return arguments[0].complete", image)))
    width: int = browser.execute_script("return arguments[0].naturalWidth", image)
    return base64.b64decode(address.partition(",")[2]).decode(), width


@pytest.mark.parametrize("page", ["login", "sign-in", "over", "invitation"])
def test_page_with_a_look_is_accessible(service: Identity, browser: WebDriver, page: str) -> None:
    addresses = {
        "sign-in": service.url,
        "login": service.open("--app", "Webmail")["page_url"],
        "over": f"{service.url}/challenge/nosuch",
        "invitation": f"{service.url}/enrol/nosuch",
    }
    browser.get(addresses[page])
    for scheme, colour in (("light", "#7a1f5c"), ("dark", "#e9a3d0")):
        set_scheme(browser, scheme)
        seconds_until(lambda colour=colour: colour in shown_logo(browser)[0])  # type: ignore[misc]
        assert shown_logo(browser)[1] > 0
    assert page_faults(browser, service.url) == []
    complaints = [each["message"] for each in browser.get_log("browser")]  # type: ignore[attr-defined]
    assert [each for each in complaints if "the server responded with a status of 40" not in each] == []


def test_tab_keeps_the_name_when_the_login_is_over(service: Identity, browser: WebDriver) -> None:
    opened = service.open("--app", "Webmail")
    browser.get(opened["page_url"])
    wait_for_script(browser)
    ending = " \N{EN DASH} Webmail \N{EN DASH} Example University"
    assert browser.title.endswith(ending)
    service.post("/api/v1/mfa/ssh/reject", {"challenge": opened["id"]})
    seconds_until(lambda: title(browser) == "Denied")
    assert browser.title == "Denied" + ending


def test_logo_opened_in_a_window_of_its_own_runs_nothing(service: Identity, browser: WebDriver) -> None:
    """The file is written anew at its reading, so a refused script is not the only thing that keeps people safe."""
    browser.get(service.url)
    logo, _ = shown_logo(browser)
    assert "script" not in logo
    browser.get("data:image/svg+xml," + logo.replace("#", "%23"))
    assert browser.execute_script("return document.querySelectorAll('script, [onload]').length") == 0


def test_script_in_the_file_ends_the_start(service: Identity) -> None:
    path = service.directory / "logo.svg"
    right = path.read_text()
    path.write_text(right.replace("<rect", "<script>alert(1)</script><rect"))
    try:
        with pytest.raises(Exception, match="returned non-zero exit status 78"):
            command(service.directory, "check")
        with pytest.raises(ValueError, match="Expecting value"), running(service.directory):
            pass  # serve says why on stderr and ends
    finally:
        path.write_text(right)
