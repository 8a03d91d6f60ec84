"""Starts the real oidc-provider of npm, with the device grant, and approves as a person does in its pages."""

import html
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from providers.openid_client import program

from sshaft_demo.parts import connects, wait_for
from sshaft_demo.place import Place

SECRET = "s3cret-of-the-hosts"


@dataclass
class OidcProvider:
    """A running provider. Its clients are `hosts`, with `SECRET`, and `public`.

    `web` is at `web_url`. `unrenewed`, at `unrenewed_url`, gets no refresh tokens.
    """

    place: Place
    port: int
    web_url: str = ""
    unrenewed_url: str = ""

    def __post_init__(self) -> None:
        self.issuer = f"http://localhost:{self.port}"
        script = program(self.place.directory, "oidc-provider")
        environment = {
            "PORT": str(self.port),
            "CLIENT_SECRET": SECRET,
            "NODE_NO_WARNINGS": "1",
            "WEB_URL": self.web_url,
            "UNRENEWED_URL": self.unrenewed_url,
        }
        process = self.place.start("oidc-provider", [Path(str(shutil.which("node"))), script], more=environment)
        wait_for(lambda: connects(self.port), process, self.log, "oidc-provider")

    def log(self) -> str:
        return self.place.log("oidc-provider")

    def events(self) -> list[dict[str, Any]]:
        """Returns the requests that came, and the tokens that ended."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def approve(self, address: str, user: str) -> None:
        """Opens the address in ssh, signs in as `user`, and confirms whatever is asked."""
        browser = requests.Session()
        browser.trust_env = False
        page = self.walk(browser, address, user)
        assert "Sign-in Success" in page.text, page.text

    def sign_out(self, browser: requests.Session) -> None:
        """Signs the person of this browser out at the provider."""
        page = self.walk(browser, f"{self.issuer}/session/end", "")
        assert "Sign-out Success" in page.text, page.text

    def walk(self, browser: requests.Session, address: str, user: str) -> requests.Response:
        """Opens the address, signs in as `user`, and confirms whatever is asked. Returns the page at the end."""
        page = browser.get(address, timeout=10)
        for _ in range(8):
            form = re.search(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', page.text, re.DOTALL)
            if form is None or not page.url.startswith(self.issuer):
                break
            values = {name: html.unescape(value) for name, value in _inputs(form[2])}
            if "login" in values:
                values |= {"login": user, "password": "any"}
            elif "/session/end" in page.url:
                values["logout"] = "yes"
            page = browser.post(urljoin(page.url, html.unescape(form[1])), values, timeout=10)
        return page


def _inputs(form: str) -> list[tuple[str, str]]:
    """Returns the names and the values of the inputs."""
    found = []
    for field in re.findall("<input[^>]*>", form):
        name, value = re.search('name="([^"]*)"', field), re.search('value="([^"]*)"', field)
        if name:
            found.append((name[1], value[1] if value else ""))
    return found
