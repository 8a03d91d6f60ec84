"""Tests the Action that `client add --for auth0` prints: Node runs it, with a real sshd and a real ssh.

Auth0 is simulated from its documentation; no test uses the real Auth0.
"""

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from e2e.conftest import Keys, Site
from providers.apache import command_words

DOMAIN = "example.eu.auth0.com"
USER = {"user_id": "auth0|1", "email": "alice"}


@dataclass
class Tenant:
    site: Site
    action: Path
    key: str

    def run(self, step: str, user: dict[str, str] | None = None, **continued: Any) -> dict[str, Any]:
        """Runs a step of the Action, and returns what the Action does."""
        question = {"step": step, "user": user or USER, "secret": self.key, "continued": continued}
        command = ["node", str(Path(__file__).parent / "auth0.cjs"), str(self.action)]
        done = subprocess.run(
            command, input=json.dumps(question), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    def logged_in(self, browser: requests.Session, key: Path, *words: str) -> dict[str, Any]:
        """Logs in by ssh. Returns the state and the form that the browser posts to Auth0."""
        sent_to = self.run("onExecutePostLogin")["sent_to"]
        page = browser.get(sent_to, timeout=30)
        self.site.sshd.ssh(key, *(words or (command_words(page),)))
        finished = browser.get(f"{page.url}/finish", timeout=30)
        action = re.search(r'<form[^>]*action="([^"]*)"', finished.text)
        value = re.search(r'name="answer" value="([^"]*)"', finished.text)
        assert action, finished.text
        assert value
        address = urlsplit(unescape(action[1]))
        assert f"{address.scheme}://{address.netloc}{address.path}" == f"https://{DOMAIN}/continue"
        return {"state": parse_qs(address.query)["state"][0], "body": {"answer": unescape(value[1])}}


@pytest.fixture(scope="module")
def tenant(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Tenant:
    """Sets the tenant up with the recipe only."""
    if shutil.which("node") is None:
        pytest.skip("needs Node: apt-get install nodejs")
    name = f"auth0-{secrets.token_hex(4)}"
    printed = site.identity.run("client", "add", name, "--for", "auth0", "--domain", DOMAIN, "--app", "The shop")
    code = re.search(r"^const SSHAFT.*?^(?=Deploy it)", printed, re.MULTILINE | re.DOTALL)
    key = re.search(r"SSHAFT_KEY +(\S+)", printed)
    assert code
    assert key
    action = tmp_path_factory.mktemp("auth0") / "action.js"
    action.write_text(code[0])
    return Tenant(site, action, key[1])


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as browser:
        browser.trust_env = False
        yield browser


def test_action_accepts_the_login_after_password_and_ssh(tenant: Tenant, keys: Keys, browser: requests.Session) -> None:
    answer = tenant.logged_in(browser, keys("alice"))
    assert answer["state"] == "the state of Auth0"
    assert tenant.run("onContinuePostLogin", **answer)["denied"] is None


def test_action_denies_a_login_that_was_denied_from_ssh(tenant: Tenant, keys: Keys, browser: requests.Session) -> None:
    answer = tenant.logged_in(browser, keys("alice"), "deny")
    assert tenant.run("onContinuePostLogin", **answer)["denied"]


def test_an_answer_for_somebody_else_or_another_login_is_denied(
    tenant: Tenant, keys: Keys, browser: requests.Session
) -> None:
    answer = tenant.logged_in(browser, keys("alice"))
    mallory = {"user_id": "auth0|2", "email": "mallory"}
    assert tenant.run("onContinuePostLogin", mallory, **answer)["denied"]
    assert tenant.run("onContinuePostLogin", **(answer | {"state": "another"}))["denied"]


def test_session_token_of_the_action_is_refused_as_an_answer(tenant: Tenant) -> None:
    """A thief of the password sees the session token in the address."""
    query = parse_qs(urlsplit(tenant.run("onExecutePostLogin")["sent_to"]).query)
    forged = {"state": query["state"][0], "body": {"answer": query["session_token"][0]}}
    assert tenant.run("onContinuePostLogin", **forged)["denied"]
    assert tenant.run("onContinuePostLogin", state="x", body={})["denied"]
