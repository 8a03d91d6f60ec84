"""Tests logins of a browser that comes from a relying party or from a simulated Entra ID."""

import base64
import hashlib
import json
import secrets
import shlex
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from e2e.conftest import Keys, Site
from fakes.entra import APP_ID, TENANT, Entra
from joserfc import jwt
from joserfc.jwk import KeySet
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.conftest import browse  # noqa: F401 - a fixture
from web.looking import seconds_until

pytestmark = pytest.mark.web
VERIFIER = "v" * 43
Browse = Callable[..., WebDriver]


@pytest.fixture
def application() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serves the redirect URI of a relying party, and keeps what browsers bring there."""
    came: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/cb?"):  # browsers also ask for an icon
                came.append(dict(parse_qsl(urlsplit(self.path).query)))
            body = b"<title>Welcome</title>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/cb", came
    server.shutdown()
    server.server_close()
    thread.join()


def command_on(browser: WebDriver) -> str:
    """Returns the words of the ssh command that the page shows."""
    seconds_until(lambda: browser.find_element(By.ID, "pending").is_displayed())
    lines = browser.find_element(By.TAG_NAME, "body").text.splitlines()
    return shlex.split(next(line for line in lines if line.startswith("ssh ")))[-1]


@pytest.mark.parametrize("scripts", [True, False])
def test_code_flow_passes_by_browser_and_ssh(
    site: Site,
    keys: Keys,
    browse: Browse,  # noqa: F811
    application: tuple[str, list[dict[str, str]]],
    scripts: bool,
) -> None:
    redirect_uri, came = application
    name = f"shop-{secrets.token_hex(4)}"
    told = site.identity.run("client", "add", name, "--for", "generic-oidc", "--redirect-uri", redirect_uri)
    secret = told.splitlines()[1].split()[1]
    where = requests.get(f"{site.identity.url}/.well-known/openid-configuration", timeout=10).json()
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
    asked = {
        "response_type": "code", "client_id": name, "redirect_uri": redirect_uri, "scope": "openid profile",
        "state": "s", "nonce": "n", "code_challenge": challenge, "code_challenge_method": "S256",
    }  # fmt: skip
    browser = browse() if scripts else browse(preferences={"profile.managed_default_content_settings.javascript": 2})
    browser.get(f"{where['authorization_endpoint']}?{urlencode(asked)}")
    done = site.sshd.ssh(keys("alice"), command_on(browser))
    assert done.returncode == 0, done.stderr
    if not scripts:
        seconds_until(lambda: browser.find_element(By.LINK_TEXT, "Continue").click() is None)
    seconds_until(lambda: browser.title == "Welcome")
    (answer,) = came
    form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": redirect_uri,
            "code_verifier": VERIFIER}  # fmt: skip
    tokens = requests.post(where["token_endpoint"], data=form, auth=(name, secret), timeout=10).json()
    jwks = KeySet.import_key_set(requests.get(where["jwks_uri"], timeout=10).json())
    claims = jwt.decode(tokens["id_token"], jwks, algorithms=["RS256"]).claims
    assert (claims["iss"], claims["sub"], claims["amr"]) == (where["issuer"], "alice", ["swk", "pop"])
    assert (answer["state"], answer["iss"]) == ("s", where["issuer"])


def test_login_denied_from_ssh_leads_back_with_an_error(
    site: Site,
    keys: Keys,
    browse: Browse,  # noqa: F811
    application: tuple[str, list[dict[str, str]]],
) -> None:
    redirect_uri, came = application
    name = f"old-{secrets.token_hex(4)}"
    site.identity.run("client", "add", name, "--for", "glewlwyd", "--redirect-uri", redirect_uri)
    asked = {"response_type": "code", "client_id": name, "redirect_uri": redirect_uri, "scope": "openid",
             "state": "s", "login_hint": "bob"}  # fmt: skip
    browser = browse()
    browser.get(f"{site.identity.url}/oauth2/authorize?{urlencode(asked)}")
    command_on(browser)
    site.sshd.ssh(keys("bob"), "deny")
    seconds_until(lambda: browser.find_element(By.LINK_TEXT, "Go back").click() is None)
    seconds_until(lambda: browser.title == "Welcome")
    assert (came[0]["error"], came[0]["state"]) == ("access_denied", "s")


def test_login_of_entra_passes_by_browser_and_ssh(site: Site, keys: Keys, browse: Browse) -> None:  # noqa: F811
    with Entra(lambda: datetime.now(UTC), client_id=f"entra-{secrets.token_hex(4)}") as entra:
        site.identity.run("client", "add", entra.client_id, "--for", "entra", "--app-id", APP_ID, "--tenant", TENANT)
        options = json.dumps(entra.options())
        site.identity.run("client", "set-face", entra.client_id, "entra", stdin=options)
        where = requests.get(f"{site.identity.url}/entra/.well-known/openid-configuration", timeout=10).json()
        form = entra.form()
        browser = browse()
        browser.get(entra.sends(where["authorization_endpoint"], form))
        done = site.sshd.ssh(keys("alice"), command_on(browser))
        assert done.returncode == 0, done.stderr
        seconds_until(lambda: browser.title == "Stay signed in?")
        jwks = requests.get(where["jwks_uri"], timeout=10).json()
        claims = entra.accepts(where["issuer"], jwks, form, entra.answers[0])
        assert claims["amr"] == ["swk"]
