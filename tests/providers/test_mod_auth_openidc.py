"""Tests the real mod_auth_openidc in Apache: an ssh login gives the claims that a page requires."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.conftest import Keys, Site
from fakes.security_key import SecurityKey
from fakes.ssh_agent import SshAgent
from providers import apache
from providers.apache import Apache, Browser, command_words, free_port
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import seconds_until, title

SOFTWARE, HARDWARE = "software", "hardware"


@pytest.fixture(scope="session")
def hardware(site: Site) -> SecurityKey:
    """Returns the key of the user `hardware`."""
    key = SecurityKey()
    site.identity.run("user", "add", HARDWARE)
    site.identity.run("key", "add", HARDWARE, "-", stdin=key.public)
    return key


@pytest.fixture(scope="session")
def software(site: Site, keys: Keys) -> Path:
    """Returns the key of the user `software`."""
    key = keys(SOFTWARE)
    site.identity.add_user(SOFTWARE, key.with_suffix(".pub"))
    return key


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apache]:
    port = free_port()
    wanted = ("--for", "generic-oidc", "--redirect-uri", f"http://127.0.0.1:{port}/cb")
    name = f"apache-{secrets.token_hex(4)}"
    secret = site.identity.run("client", "add", name, *wanted).splitlines()[1].split()[1]
    directory = tmp_path_factory.mktemp("apache")
    with apache.running(directory, port, site.identity.url, name, secret) as server:
        yield server


def log_in(site: Site, server: Apache, page: str, key: Path | None, *options: str) -> tuple[int, str]:
    """Returns the status and the text of the page after the login."""
    browser = Browser()
    waiting = browser.get(f"{server.url}/{page}/")
    done = site.sshd.ssh(key, command_words(waiting), options=options)
    assert done.returncode == 0, done.stderr
    answer = browser.get(f"{waiting.url}/finish")
    return answer.status_code, answer.text


def test_person_sees_the_page_after_a_passed_login(site: Site, software: Path, server: Apache) -> None:
    assert log_in(site, server, "plain", software) == (200, "the plain page"), server.log.read_text()


def test_browser_comes_back_by_itself_after_the_ssh(
    site: Site, software: Path, server: Apache, used_browser: WebDriver
) -> None:
    used_browser.get(f"{server.url}/plain/")
    seconds_until(lambda: title(used_browser) == "Confirm with SSH")
    code = used_browser.find_element(By.ID, "command").text.split()[-1]
    assert site.sshd.ssh(software, code).returncode == 0
    seconds_until(lambda: used_browser.find_element(By.TAG_NAME, "body").text == "the plain page")


def test_software_key_opens_only_the_page_that_requires_software(site: Site, software: Path, server: Apache) -> None:
    assert log_in(site, server, "software", software) == (200, "the software page")
    assert log_in(site, server, "hardware", software)[0] == 401


def test_security_key_opens_the_page_that_requires_hardware(
    site: Site, server: Apache, hardware: SecurityKey, tmp_path: Path
) -> None:
    with SshAgent(tmp_path / "agent", hardware) as agent:
        assert log_in(site, server, "hardware", None, *agent.options) == (200, "the hardware page")
        assert log_in(site, server, "software", None, *agent.options)[0] == 401


def test_page_with_step_up_requires_a_verified_security_key(
    site: Site, server: Apache, hardware: SecurityKey, tmp_path: Path
) -> None:
    browser = Browser()
    waiting = browser.get(f"{server.url}/verified/")
    code = command_words(waiting)
    with SshAgent(tmp_path / "touched", hardware) as agent:
        asked = site.sshd.ssh(None, code, options=agent.options)
        assert (asked.returncode, "PIN or a finger" in asked.stderr) == (77, True), "the key has claimed the login"
        assert site.sshd.ssh(None, code, options=agent.options).returncode == 255, "sshd wants more than a touch"
    with SshAgent(tmp_path / "verified", hardware, flags=5) as agent:
        done = site.sshd.ssh(None, code, options=agent.options)
        assert done.returncode == 0, done.stderr
    answer = browser.get(f"{waiting.url}/finish")
    assert (answer.status_code, answer.text) == (200, "the verified page"), server.log.read_text()


def test_a_denied_login_opens_nothing(site: Site, server: Apache, hardware: SecurityKey, tmp_path: Path) -> None:
    browser = Browser()
    waiting = browser.get(f"{server.url}/verified/")
    with SshAgent(tmp_path / "agent", hardware, flags=5) as agent:
        site.sshd.ssh(None, "deny", options=agent.options)
    answer = browser.get(f"{waiting.url}/finish")
    assert "error=access_denied" in answer.url
    assert "the verified page" not in answer.text
    assert "/login/" in browser.get(f"{server.url}/verified/").url, "there is no session"
