"""Simulates a browser: keeps cookies and sends the origin of its forms, but does not follow redirects."""

import re
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from typing import Any

import requests
from service.service import Service

ORIGIN = "https://id.example.org"
FROM_HERE = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}


@dataclass
class Browser:
    service: Service
    cookies: dict[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list)
    """The Set-Cookie headers of the last answer."""

    def get(self, path: str, **more: Any) -> requests.Response:
        return self._send("GET", path, more.pop("headers", {}), **more)

    def post(self, path: str, form: dict[str, str] | None = None, **more: Any) -> requests.Response:
        return self._send("POST", path, more.pop("headers", FROM_HERE), data=form or {"a": "b"}, **more)

    def _send(self, method: str, path: str, headers: dict[str, str], **more: Any) -> requests.Response:
        self.service.session.cookies.clear()
        cookie = (
            {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        )
        path = path.removeprefix(ORIGIN)
        answer = self.service.call(method, path, headers=headers | cookie, allow_redirects=False, **more)
        self.set_cookies = answer.raw.headers.getlist("set-cookie")
        for line in self.set_cookies:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]
        return answer

    def begin(self) -> str:
        """Begins a sign-in by ssh, and returns the code on the page."""
        assert self.post("/sign-in/ssh").headers["Location"] == "/sign-in/ssh"
        return code_on(self.get("/sign-in/ssh"))

    def sign_in(self, user: str, fingerprint: str) -> None:
        code = self.begin()
        assert self.service.accept(user, code=code, fingerprint=fingerprint, confirmed=True).status_code == 200
        assert self.get("/sign-in/ssh").headers["Location"] == "/account/keys"

    def form_token(self) -> str:
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', self.get("/account/keys").text)
        assert found
        return found[1]


def code_on(page: requests.Response) -> str:
    found = re.search(r">ssh mfa@login\.example\.org (\d+)</code>", page.text)
    assert found, page.text
    return found[1]


def heading(page: requests.Response) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page.text)
    assert found, page.text
    return unescape(found[1])
