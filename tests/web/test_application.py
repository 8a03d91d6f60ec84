"""Tests how applications embed a login: in a pop-up, by form_post to another origin, and with reloads."""

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import NO_SCRIPTS, click, seconds_until
from web.served import Identity

pytestmark = pytest.mark.web
VERIFIER = "v" * 43
CALLBACK = "<title>Back</title><script>if (opener) opener.postMessage('Came back', '*')</script>"
SHOP = """<title>Shop</title><a id="login" href="#">Log in</a><script>
document.getElementById("login").onclick = () => { window.popup = open("ADDRESS", "", "width=500,height=500") };
onmessage = (event) => { document.title = event.data };
</script>"""


@dataclass
class Application:
    """A relying party. It sends the POST of a form_post answer on to another origin."""

    identity: Identity
    more: dict[str, str] = field(default_factory=dict)
    came: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.name = f"shop-{secrets.token_hex(4)}"
        told = self.identity.run(
            "client", "add", self.name, "--for", "generic-oidc", "--redirect-uri", f"{self.url}/cb"
        )
        self.secret = told.splitlines()[1].split()[1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path == "/cb":
                    outer.came.append(dict(parse_qsl(parts.query)))
                shop = SHOP.replace("ADDRESS", outer.address)
                body = {"/": shop, "/cb": CALLBACK, "/welcome": "<title>Welcome</title>"}.get(parts.path, "").encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.came.append(dict(parse_qsl(body)))
                self.send_response(303)
                self.send_header("Location", f"http://localhost:{outer.port}/welcome")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    @property
    def address(self) -> str:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
        wishes = {
            "response_type": "code", "client_id": self.name, "redirect_uri": f"{self.url}/cb", "scope": "openid",
            "state": "s", "code_challenge": challenge, "code_challenge_method": "S256", "login_hint": "alice",
        }  # fmt: skip
        return f"{self.identity.url}/oauth2/authorize?{urlencode(wishes | self.more)}"

    def redeem(self, code: str) -> requests.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": f"{self.url}/cb"}
        form |= {"code_verifier": VERIFIER}
        auth = (self.name, self.secret)
        return requests.post(f"{self.identity.url}/oauth2/token", data=form, auth=auth, timeout=10)


@pytest.fixture
def applications() -> Iterator[list[Application]]:
    made: list[Application] = []
    yield made
    for each in made:
        each.server.shutdown()
        each.server.server_close()


@pytest.fixture
def application(identity: Identity, applications: list[Application]) -> Application:
    applications.append(Application(identity))
    return applications[0]


@pytest.fixture
def posting(identity: Identity, applications: list[Application]) -> Application:
    applications.append(Application(identity, {"response_mode": "form_post"}))
    return applications[0]


def pass_login(identity: Identity, browser: WebDriver) -> None:
    """Brings the code of the page, as ssh does."""
    seconds_until(lambda: browser.find_element(By.ID, "command").text != "")
    code = browser.find_element(By.ID, "command").text.split()[-1]
    body = {"code": code, "fingerprint": identity.fingerprint, "confirmed": True, "client_ip": "127.0.0.1"}
    answer = identity.post("/api/v1/mfa/ssh/accept", body)
    assert answer.status_code == 200, answer.text


def test_application_hears_from_the_pop_up_of_a_login(
    identity: Identity, application: Application, browser: WebDriver
) -> None:
    """Case browser_popup: `Cross-Origin-Opener-Policy: same-origin` cut the pop-up off from the application."""
    browser.get(application.url)
    shop = browser.current_window_handle
    browser.find_element(By.ID, "login").click()
    seconds_until(lambda: len(browser.window_handles) == 2)
    popup = next(each for each in browser.window_handles if each != shop)
    browser.switch_to.window(popup)
    seconds_until(lambda: "/login/" in browser.current_url)
    browser.switch_to.window(shop)
    assert browser.execute_script("return popup.closed") is False
    browser.switch_to.window(popup)
    pass_login(identity, browser)
    browser.switch_to.window(shop)
    seconds_until(lambda: browser.title == "Came back")


def test_application_may_lead_on_to_another_origin_after_form_post(
    identity: Identity, posting: Application, browser: WebDriver
) -> None:
    """Case browser_form_post: Chromium applies `form-action` to the redirect that follows the form."""
    browser.get(posting.address)
    pass_login(identity, browser)
    seconds_until(lambda: browser.title == "Welcome")
    assert browser.current_url == f"http://localhost:{posting.port}/welcome"
    assert "code" in posting.came[0]


@pytest.mark.parametrize(("mode", "scripts"), [("query", True), ("form_post", False)])
def test_cancel_leads_back_to_the_application_with_an_error(
    identity: Identity, applications: list[Application], browse: Callable[..., WebDriver], mode: str, scripts: bool
) -> None:
    """Finding U10. Chromium applies `form-action` to the redirects of the form that cancels, too."""
    applications.append(Application(identity, {"response_mode": mode}))
    browser = browse(preferences={} if scripts else NO_SCRIPTS)
    browser.get(applications[0].address)
    click(browser, By.XPATH, "//button[.='Cancel']")
    if mode == "form_post" and not scripts:
        click(browser, By.XPATH, "//button[.='Continue']")
    seconds_until(lambda: browser.title in ("Back", "Welcome"))
    (came,) = applications[0].came
    assert (came["error"], came["state"]) == ("access_denied", "s")


def test_browser_that_comes_again_is_led_on_once_more_with_another_code(
    identity: Identity, application: Application, browser: WebDriver
) -> None:
    """Case browser_reload: a reload, a double click or another tab said "Login already finished"."""
    browser.get(application.address)
    page = browser.current_url
    pass_login(identity, browser)
    seconds_until(lambda: browser.title == "Back")
    browser.get(page)
    seconds_until(lambda: browser.title == "Back")
    browser.switch_to.new_window("tab")
    browser.get(page)
    seconds_until(lambda: browser.title == "Back")
    first, second, third = (each["code"] for each in application.came)
    assert application.redeem(first).json()["error"] == "invalid_grant"
    assert application.redeem(second).json()["error"] == "invalid_grant"
    assert "id_token" in application.redeem(third).json()
    browser.get(page)
    assert browser.find_element(By.TAG_NAME, "h1").text == "Login already finished"
