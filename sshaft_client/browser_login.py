"""Logs a person in with their browser: the code flow with PKCE, which comes back to a port of loopback (RFC 8252)."""

import hmac
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from sshaft.deadline import Deadline
from sshaft_oidc import code_flow
from sshaft_oidc.provider import Provider, Tokens, error_of
from sshaft_oidc.remote_keys import OpenIdError, parse

SECONDS = 300.0
"""The time that a person has in the browser."""
_REQUEST_SECONDS = 10.0
_DONE = "You are logged in. You can close this page; the terminal goes on."
_FAILED = "This login did not work. The terminal says more."
_COOKIE = "sshaft"


def log_in(provider: Provider, parameters: dict[str, str], port: int, show: Callable[[str], None]) -> Tokens:
    """Returns the tokens of the person who logs in with the browser. Raises `OpenIdError` or `RemoteServiceError`.

    `parameters` are those of the authorization request that say what is asked for. `show` gets the address to open.
    """
    with _Landing(port) as landing:
        verifier = secrets.token_urlsafe(48)
        request = parameters | {"redirect_uri": landing.redirect_uri, "state": landing.state}
        landing.goal = code_flow.request_url(provider, request, verifier, Deadline.after(_REQUEST_SECONDS))
        show(landing.start)
        query = landing.wait(SECONDS)
    deadline = Deadline.after(_REQUEST_SECONDS)
    code_flow.check_issuer(provider, query.get("iss"), deadline)
    if "code" not in query:
        raise OpenIdError("the provider did not log you in")
    answer = code_flow.ask_for_tokens(provider, query["code"], landing.redirect_uri, verifier, deadline)
    if answer.status != 200:
        raise OpenIdError(f"the provider gives no token: {error_of(answer)}")
    return parse(Tokens, answer, "the token endpoint")


def open_browser(url: str) -> None:
    """Opens a page in the person's browser, without a word on our terminal and our standard output."""
    words = [sys.executable, "-I", "-m", "webbrowser", url]
    with suppress(OSError):
        subprocess.run(  # noqa: S603 - the page is ours; the shell leaves the browser to itself
            ["/bin/sh", "-c", '"$@" &', "sh", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, check=False,
        )  # fmt: skip


class _Landing:
    """The two pages of a login on loopback: the first sends the browser to the provider, the second takes the answer.

    The first page is shown once and gives the browser a cookie, which the second wants. So another account of this
    computer, which can read the address in the list of processes, can put no login of its own in the place.
    """

    def __init__(self, port: int) -> None:
        self.state, self.goal = secrets.token_urlsafe(32), ""
        self._cookie = secrets.token_urlsafe(32)
        self._path = f"/{secrets.token_urlsafe(16)}"
        self._lock = threading.Lock()
        self._is_open = True
        self._answers: Queue[dict[str, str]] = Queue()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                outer._handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.start, self.redirect_uri = f"{address}{self._path}", f"{address}/callback"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, seconds: float) -> dict[str, str]:
        """Returns the parameters of the authorization response, which has our state. Raises `OpenIdError`."""
        try:
            return self._answers.get(timeout=seconds)
        except Empty:
            raise OpenIdError("nobody logged in with the browser in time") from None

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        if parts.path == self._path and self._may_begin():
            _send(handler, 302, "", Location=self.goal, Set_Cookie=f"{_COOKIE}={self._cookie}; HttpOnly; SameSite=Lax")
        elif parts.path == "/callback" and self._is_ours(handler, query := dict(parse_qsl(parts.query))):
            self._answers.put(query)
            _send(handler, 200, _DONE if "code" in query else _FAILED)
        else:
            _send(handler, 404, _FAILED)

    def _may_begin(self) -> bool:
        with self._lock:
            was_open, self._is_open = self._is_open, False
        return was_open

    def _is_ours(self, handler: BaseHTTPRequestHandler, query: dict[str, str]) -> bool:
        cookie = SimpleCookie(handler.headers.get("Cookie", "")).get(_COOKIE)
        given = (query.get("state", ""), cookie.value if cookie else "")
        expected = (self.state, self._cookie)
        return all(hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(given, expected, strict=True))


def _send(handler: BaseHTTPRequestHandler, status: int, text: str, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Type", "text/plain; charset=utf-8")
    handler.send_header("Content-Length", str(len(text)))
    handler.send_header("Cache-Control", "no-store")
    handler.send_header("Referrer-Policy", "no-referrer")
    handler.end_headers()
    handler.wfile.write(text.encode())
