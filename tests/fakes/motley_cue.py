"""A small service of motley_cue's contract on loopback, and the agent of an sshd whose PAM module asks it."""

import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import requests
from fakes.unix_server import read_question

from sshaft import messages

DESCRIPTION = "This is the user API for mapping remote identities to local identities."
MORE = "\\"
PROMPT = "Access Token:"


@dataclass
class MotleyCue:
    """A service for some tokens. A test bends its answers. With `prefix` it has a place on a web server of others."""

    users: dict[str, str] = field(default_factory=dict)
    """The account of each token."""
    issuers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The scopes and the audience of each provider."""
    prefix: str = ""
    makes_passwords: bool = True
    bent: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """By path: the status, and the body as bytes or as an object."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """The path and the token of each request."""
    on_call: dict[str, Callable[[BaseHTTPRequestHandler], object]] = field(default_factory=dict)
    """By path: what answers instead."""
    port: int = 0

    def __post_init__(self) -> None:
        self.passwords: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}{self.prefix}"
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Speaks TLS from now on. The certificate must be for localhost."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self.port}{self.prefix}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        parts = urlsplit(handler.path)
        path = parts.path.removeprefix(self.prefix)
        self.calls.append((path, token))
        if path in self.on_call:
            self.on_call[path](handler)
            return
        status, body = self.bent.get(path) or self._public(path, parts.query) or self._answer(path, token)
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        if 300 <= status < 400:
            handler.send_header("Location", f"{self.url}/elsewhere")
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def _public(self, path: str, query: str) -> tuple[int, Any] | None:
        match path:
            case "/":
                return 200, {"description": DESCRIPTION}
            case "/info":
                return 200, {"login_info": {"ssh_host": "web1"}, "supported_OPs": list(self.issuers)}
            case "/info/op":
                wish = self.issuers.get(dict(parse_qsl(query))["url"])
                return (404, {"detail": "OP not supported"}) if wish is None else (200, wish)
        return None

    def _answer(self, path: str, token: str) -> tuple[int, Any]:  # noqa: PLR0911 - one for each path
        user = self.users.get(token)
        if user is None:
            return 401, {"error": "Unauthenticated", "error_description": "User identity could not be determined"}
        match path:
            case "/user/deploy":
                return 200, {"state": "deployed", "message": "User already existed.", "credentials": {"ssh_user": user}}
            case "/info/authorisation":
                return 200, {"OP": next(iter(self.issuers)), "authorisation_info": "All users are authorised."}
            case "/user/get_status":
                return 200, {"state": "deployed", "message": f"username {user}", "credentials": {}}
            case "/user/generate_otp" if self.makes_passwords:
                self.passwords[hashlib.sha512(token.encode()).hexdigest()] = token
                return 200, {"supported": True, "successful": True}
            case "/user/generate_otp":
                return 200, {"supported": False}
        return 404, {"detail": "Not Found"}

    def opens(self, user: str, password: str) -> bool:
        """Whether the password is a token of this user, or stands for one."""
        return self.users.get(self.passwords.pop(password, password)) == user


@dataclass
class VerifyUser:
    """Asks a service of motley_cue's contract as the PAM module of its users does. `url` is that of the service."""

    url: str

    def opens(self, user: str, password: str) -> bool:
        """Whether the service says that the password opens the account."""
        headers = {"Authorization": f"Bearer {password}"}
        answer = requests.get(f"{self.url}/verify_user?username={user}", headers=headers, timeout=30)
        return answer.status_code == requests.codes.ok and answer.json()["verified"] is True


@dataclass
class TokenPrompts:
    """The agent of a PAM module that asks for tokens: an answer of `UnixServer`."""

    service: MotleyCue | VerifyUser
    prompt: str = PROMPT
    takes_parts: bool = True
    answers: list[str] = field(default_factory=list)
    """What was typed at each prompt."""

    def __call__(self, connection: socket.socket) -> None:
        kind, fields = read_question(connection)
        if kind != "login":
            connection.sendall(messages.encode("result", {"result": "success"}))
            return
        token = self._ask(connection)
        while self.takes_parts and token.endswith(MORE):
            token = token.removesuffix(MORE) + self._ask(connection)
        result = "success" if self.service.opens(fields["user"], token) else "denied"
        connection.sendall(messages.encode("result", {"result": result}))

    def _ask(self, connection: socket.socket) -> str:
        connection.sendall(messages.encode("prompt", {"text": self.prompt, "echo": "no"}))
        _, fields = read_question(connection)
        self.answers.append(fields["text"])
        return fields["text"]
