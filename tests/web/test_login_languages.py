"""Looks at the pages of a login, an invitation and the sign-in: in German, and in a language from right to left."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
from fakes import pseudo_language
from fakes.public_keys import ed25519
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.axe import page_faults
from web.enrolling import guest
from web.looking import (
    SIZES,
    seconds_until,
    set_size,
    wait_for_script,
)
from web.served import Identity, command, serving

LANGUAGES = ("de", pseudo_language.TAG)
LONG = "A very long name of an application " + "w" * 60


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    """Starts a service that speaks a made-up language, too."""
    base = tmp_path_factory.mktemp("spoken")
    directory = base / "directory"
    for name in ("host", "alice"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", base / name], check=True, timeout=10)
    command(directory, "init", "--listen", "127.0.0.1:0", "--ssh-host", "login.example.org", "--ssh-port", "2222",
            "--ssh-host-key", str(base / "host.pub"))  # fmt: skip
    pseudo_language.write_catalogue(directory / "languages")
    path = directory / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"languages": str(directory / "languages")}))
    command(directory, "user", "add", "alice")
    fingerprint = command(directory, "key", "add", "alice", str(base / "alice.pub")).split()[0]
    with serving(directory, fingerprint) as site:
        yield site


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest, spoken: Identity, used_browser: WebDriver) -> str:
    """Lets the browser choose the language. Returns it."""
    used_browser.get(f"{spoken.url}/?ui_locales={request.param}")
    return str(request.param)


def waiting(site: Identity, browser: WebDriver) -> None:
    """Shows a login that waits, with all its sections open."""
    opened = site.post("/api/v1/challenges", {"app": LONG, "context": {"ip": "2001:db8::7"}}).json()
    browser.get(site.url + opened["page_url"][opened["page_url"].index("/challenge/") :])
    wait_for_script(browser)
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    site.accept(opened, "000000")
    seconds_until(lambda: browser.find_element(By.ID, "wrong").is_displayed())


def typing(site: Identity, browser: WebDriver) -> None:
    """Shows a login that wants the code of ssh, after a code that was wrong."""
    opened = site.open("--binding", "code_back")
    browser.get(opened["page_url"])
    browser.find_element(By.ID, "code").send_keys("123456")
    browser.find_element(By.CSS_SELECTOR, "form.type button").click()
    seconds_until(lambda: bool(browser.find_elements(By.ID, "fault")))


def ended(action: str) -> Callable[[Identity, WebDriver], None]:
    def show(site: Identity, browser: WebDriver) -> None:
        browser.get(site.open_from("http://127.0.0.1")["page_url"])
        wait_for_script(browser)
        browser.find_element(By.CSS_SELECTOR, f"form[action$='/{action}'] button").click()
        seconds_until(lambda: not browser.find_elements(By.ID, "pending"))

    return show


def invited(
    query: str = "", *, presents: bool = False, confirms: bool = False
) -> Callable[[Identity, WebDriver], None]:
    def show(site: Identity, browser: WebDriver) -> None:
        someone = guest(site)
        if presents:
            someone.present(ed25519(someone.name))
        browser.get(someone.page + query)
        if confirms:
            browser.find_element(By.CSS_SELECTOR, "button[value=confirm]").click()
            seconds_until(lambda: bool(browser.find_elements(By.ID, "short")))
        browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")

    return show


def at(path: str) -> Callable[[Identity, WebDriver], None]:
    return lambda site, browser: browser.get(site.url + path)


PAGES = {
    "waiting": waiting, "typing": typing, "denied": ended("deny"), "sign_in": at("/?note=again"),
    "invited": invited(), "signature": invited("?by=signature"), "presented": invited(presents=True),
    "registered": invited(presents=True, confirms=True),
}  # fmt: skip


def cut(browser: WebDriver) -> list[str]:
    """Returns the controls whose words do not fit, and the commands that are not written from left to right."""
    found: list[str] = browser.execute_script(
        """
        const seen = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility());
        const wide = seen("button, .button, summary, label").filter((e) => e.scrollWidth > e.clientWidth + 1);
        const turned = seen("code, pre, bdi[dir=ltr], textarea, #code")
          .filter((e) => getComputedStyle(e).direction !== "ltr");
        return [...wide, ...turned].map((e) => e.outerHTML.slice(0, 80));
        """
    )
    return found


@pytest.mark.usefixtures("language")
@pytest.mark.parametrize("page", PAGES)
def test_pages_are_accessible_in_every_language(spoken: Identity, used_browser: WebDriver, page: str) -> None:
    PAGES[page](spoken, used_browser)
    for size in SIZES:
        set_size(used_browser, size)
        assert cut(used_browser) == [], size
    assert page_faults(used_browser) == []


def test_script_of_the_page_speaks_the_language_of_the_page(spoken: Identity, used_browser: WebDriver) -> None:
    opened = spoken.open_from("http://127.0.0.1")
    used_browser.get(f"{opened['page_url']}?ui_locales=de")
    wait_for_script(used_browser)
    seconds_until(lambda: used_browser.find_element(By.ID, "left").text.startswith("Warten, noch 4:5"))
    spoken.accept(opened, "000000")
    seconds_until(lambda: used_browser.find_element(By.ID, "wrong").text == "Falscher Code, noch 4 Versuche")
    used_browser.find_element(By.ID, "copy").click()
    seconds_until(lambda: used_browser.find_element(By.ID, "copy").text in ("Kopiert", "Markiert"))
    assert spoken.accept(opened).status_code == 200
    seconds_until(lambda: used_browser.find_element(By.ID, "title").text == "Bestätigt")
    assert used_browser.title == "Bestätigt \N{EN DASH} Webmail"
    assert used_browser.find_element(By.ID, "return").text == "Weiter"
