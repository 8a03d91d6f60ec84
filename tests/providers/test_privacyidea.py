"""Tests the real privacyIDEA: its remote tokens ask our service whether ssh has printed a code."""

import re
import secrets
from collections.abc import Iterator

import pytest
from e2e.choosing import choose
from e2e.conftest import Keys, Site
from providers import privacyidea
from providers.privacyidea import PrivacyIdea
from providers.privacyidea_pages import WIDTH, Pages
from selenium.webdriver.common.by import By
from web.looking import seconds_until
from web.pictures import Pictures

pytestmark = pytest.mark.timeout(900)  # the first run installs it
USER = f"pia{secrets.token_hex(2)}"  # another one where the tests are run again
PIN = "geheim"


@pytest.fixture(scope="module")
def server(site: Site, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivacyIdea]:
    """Sets privacyIDEA up with the recipe."""
    site.identity.add_user(USER, keys(USER).with_suffix(".pub"))
    wanted = ("--for", "privacyidea", "--from", "127.0.0.1", "--app", "the intranet")
    printed = site.identity.run("client", "add", f"pi-{USER}", *wanted)
    (url,) = re.findall(r"^ +URL of the privacyIDEA Server +(\S+)$", printed, re.MULTILINE)
    with privacyidea.running(tmp_path_factory.mktemp("privacyidea")) as server:
        server.set_up(url)
        server.add_token("PLAIN", USER)
        server.add_token("PINNED", USER, PIN)
        server.add_token("NOBODY", "nobody-here")
        yield server


def code_of(site: Site, keys: Keys) -> str:
    """Returns the code that ssh prints. privacyIDEA names no address, so the person chooses the newest login."""
    said, _ = choose(site.sshd, keys(USER))
    assert "the intranet" in said
    (code,) = re.findall(r"\b\d{6}\b", said)
    return str(code)


def test_the_steps_of_the_recipe_lead_to_a_token(
    site: Site, keys: Keys, server: PrivacyIdea, pictures: Pictures
) -> None:
    user, pages = f"pib{secrets.token_hex(2)}", Pages(server, pictures.browser)
    site.identity.add_user(user, keys(user).with_suffix(".pub"))
    recipe = site.identity.run("client", "add", f"pi-{user}", "--for", "privacyidea", "--app", "the intranet")
    (url,) = re.findall(r"^ +URL of the privacyIDEA Server +(\S+)$", recipe, re.MULTILINE)
    pictures.set_size(WIDTH, 900)
    pages.sign_in()
    pages.open("External Services", "PrivacyIDEA Servers")
    pages.press("Create PrivacyIDEA Server")
    pages.type("Identifier", user)
    pages.type("URL of the privacyIDEA Server", url)
    shown = [pages.field("Identifier"), pages.field("URL"), pages.browser.find_element(By.TAG_NAME, "mat-checkbox")]
    pictures.take("privacyidea-server", shown)
    pages.press("Save")
    pages.wait_for("Successfully saved")

    pages.open("Token")
    pages.press("Enroll Token")
    pages.wait_for("Enroll a New Token")
    kind = pages.browser.find_element(By.XPATH, "//mat-form-field[.//mat-select]")
    pages.choose(kind, "Remote Token")
    seconds_until(lambda: pages.field("Remote Server").is_displayed())
    pages.choose(pages.field("Remote Server"), user)
    for name in ("Remote Serial", "Remote User", "Remote Resolver"):
        pages.type(name, user)
    pictures.take("privacyidea-token", [kind, pages.field("Remote Realm"), pages.field("Remote Resolver")])
    pages.press("Enroll Token")
    (serial,) = re.findall(r"serial number (\w+)", pages.wait_for("was successfully enrolled"))

    assert not server.accepts(serial, "begin")
    said, _ = choose(site.sshd, keys(user))
    (code,) = re.findall(r"\b\d{6}\b", said)
    assert server.accepts(serial, code), server.log.read_text()[-3000:]


def another(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06}"


def test_code_that_ssh_printed_passes_once(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    assert not server.accepts("PLAIN", "begin")
    code = code_of(site, keys)
    assert not server.accepts("PLAIN", another(code))
    assert server.accepts("PLAIN", code), server.log.read_text()[-3000:]
    assert not server.accepts("PLAIN", code)


def test_the_code_follows_a_pin(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    assert not server.accepts("PINNED", f"{PIN}000000"), "it begins the login: the PIN is right"
    code = code_of(site, keys)
    assert not server.accepts("PINNED", code)
    assert not server.accepts("PINNED", f"wrong{code}")
    assert server.accepts("PINNED", PIN + code), server.log.read_text()[-3000:]


def test_a_wrong_pin_begins_no_login(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    assert not server.accepts("PINNED", "wrong000000")
    assert site.sshd.ssh(keys(USER)).returncode != 0


def test_no_code_passes_without_an_ssh_login(server: PrivacyIdea) -> None:
    for code in ("123456", "654321", "", "password"):
        assert not server.accepts("PLAIN", code)


def test_people_without_keys_are_refused(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    assert not server.accepts("PLAIN", "begin")
    code = code_of(site, keys)
    assert not server.accepts("NOBODY", "begin")
    assert not server.accepts("NOBODY", code)
    assert server.accepts("PLAIN", code)


def test_a_wrong_secret_lets_nobody_in(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    wrong = site.identity.url.replace("://", f"://pi-{USER}:wrong@")
    server.add_token("WRONG", USER, **{"remote.server": wrong})
    assert not server.accepts("PLAIN", "begin")
    code = code_of(site, keys)
    assert not server.accepts("WRONG", code)
    assert "no such client, or not its secret" in site.identity.place.log("identity")
    assert server.accepts("PLAIN", code)
