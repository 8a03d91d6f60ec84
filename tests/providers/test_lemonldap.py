"""Tests the real LemonLDAP::NG: the code that ssh printed is its second factor."""

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.conftest import Keys, Site
from providers import lemonldap
from providers.lemonldap import NO_SERVICE, RIGHT, WRONG_CODE, Manager, Portal
from selenium.webdriver.common.by import By
from web.looking import click, seconds_until
from web.pictures import Pictures

USER = "dwho"  # one of the portal's demonstration users


@dataclass
class Lab:
    site: Site
    portal: Portal
    recipe: str

    def printed(self, key: Path) -> str:
        """Returns the code that ssh prints."""
        done = self.site.sshd.ssh(key)
        assert done.returncode == 0, done.stderr
        (code,) = re.findall(r"\b\d{6}\b", done.stdout)
        return str(code)


@pytest.fixture(scope="session")
def site_with_user(site: Site, keys: Keys) -> Site:
    site.identity.add_user(USER, keys(USER).with_suffix(".pub"))
    return site


@pytest.fixture(scope="module")
def lab(site_with_user: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Sets the portal up with the recipe of `client add --for lemonldap` only."""
    site, name = site_with_user, f"lemonldap-{secrets.token_hex(4)}"
    recipe = site.identity.run("client", "add", name, "--for", "lemonldap", "--app", "LemonLDAP")
    settings = dict(re.findall(r"^  (rest2f\w+) +(\S.*)$", recipe, re.MULTILINE))
    values = {name: json.loads(value) if value.startswith("{") else value for name, value in settings.items()}
    assert {"rest2fActivation", "rest2fInitUrl", "rest2fVerifyUrl", "rest2fInitArgs"} == set(values)
    (message,) = re.findall(r"^  (msg_\w+ = .*)$", recipe, re.MULTILINE)
    with lemonldap.running(tmp_path_factory.mktemp("lemonldap"), values, message) as portal:
        yield Lab(site, portal, recipe)


def test_session_opens_after_password_and_ssh(lab: Lab, keys: Keys) -> None:
    login = lab.portal.password(USER)
    assert login.outcome != RIGHT
    assert login.code(lab.printed(keys(USER))) == RIGHT, lab.portal.log.read_text()


def test_browser_shows_what_to_do_and_then_has_a_session(lab: Lab, keys: Keys, pictures: Pictures) -> None:
    browser = pictures.browser
    browser.get(lab.portal.url)
    seconds_until(lambda: browser.find_element(By.NAME, "user").is_displayed())
    for field in ("user", "password"):
        browser.find_element(By.NAME, field).send_keys(USER)
    click(browser, By.CSS_SELECTOR, "button[type=submit]")
    seconds_until(lambda: "Run ssh" in browser.find_element(By.TAG_NAME, "main").text)
    browser.find_element(By.NAME, "code").send_keys(lab.printed(keys(USER)))
    pictures.take("lemonldap-code", "main")
    click(browser, By.CSS_SELECTOR, "button[type=submit]")
    seconds_until(lambda: browser.find_element(By.ID, "menu").is_displayed())


def test_second_factor_is_set_up_in_the_manager(lab: Lab, keys: Keys, pictures: Pictures) -> None:
    """The test removes the second factor that the fixture has set up, and types the recipe."""
    manager = Manager(lab.portal.url, pictures.browser)
    manager.open()
    manager.switch("Off")
    manager.open_arguments()
    manager.remove_argument()
    manager.save()
    seconds_until(lambda: lab.portal.password(USER).outcome == RIGHT)
    manager.open()
    manager.switch("On")
    for name, value in re.findall(r"^  (Init URL|Verify URL|Label) +(.*)$", lab.recipe, re.MULTILINE):
        manager.type(name, value)
    pictures.take("lemonldap-manager", "#top form")
    manager.open_arguments()
    (argument,) = re.findall(r"^  Init arguments +(\w+) => (\w+)$", lab.recipe, re.MULTILINE)
    manager.add_argument(*argument)
    pictures.take("lemonldap-arguments", "#top, #a-rest2f, #t-rest2fInitArgs")
    manager.save()
    seconds_until(lambda: lab.portal.password(USER).outcome != RIGHT)
    assert lab.portal.password(USER).code(lab.printed(keys(USER))) == RIGHT


def test_a_wrong_code_opens_no_session(lab: Lab, keys: Keys) -> None:
    login = lab.portal.password(USER)
    code = lab.printed(keys(USER))
    assert login.code(f"{(int(code) + 1) % 10**6:06}") == WRONG_CODE


def test_no_code_passes_without_an_ssh_login(lab: Lab) -> None:
    assert lab.portal.password(USER).code("123456") == WRONG_CODE


def test_code_passes_one_login(lab: Lab, keys: Keys) -> None:
    login = lab.portal.password(USER)
    code = lab.printed(keys(USER))
    assert login.code(code) == RIGHT
    assert lab.portal.password(USER).code(code) == WRONG_CODE


def test_somebody_without_a_key_gets_no_session(lab: Lab) -> None:
    assert lab.portal.password("rtyler").code("123456") == WRONG_CODE


def test_login_fails_while_the_service_is_down(lab: Lab, keys: Keys) -> None:
    login = lab.portal.password(USER)
    code = lab.printed(keys(USER))
    lab.site.identity.place.stop(lab.site.identity.process)
    try:
        assert login.code(code) == NO_SERVICE
        # the portal asks for the code all the same, and then finds nobody who knows it
        assert lab.portal.password(USER).code(code) == NO_SERVICE
    finally:
        lab.site.identity.process = lab.site.identity.start()
    login = lab.portal.password(USER)
    assert login.code(lab.printed(keys(USER))) == RIGHT
