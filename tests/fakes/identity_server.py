"""Serves a small identity service on loopback whose answers a test chooses.

Its default is the server of the original: form token request, bearer list, and bearer accept in JSON, all strict.
"""

import base64
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

CLIENT_ID, CLIENT_SECRET = "factor", "s3cret+/&"


@dataclass
class Call:
    """A received request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    peer: tuple[str, int] = ("", 0)
    """The address and port of the client. Each connection has its own port."""
    certificate: Any = None
    """The certificate of the client in the TLS handshake (`ssl.SSLSocket.getpeercert`)."""

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """`write`, if given, writes the whole answer to the raw socket instead."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    write: Callable[[socket.socket], None] | None = None


def reply_json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode())


class IdentityServer:
    """`entries` is what list answers; `replies[path]` overrides an answer: a Reply for always, a list of replies for
    the next calls (then the default again), or a function from Call to Reply."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, delay: float = 0.0) -> None:
        self.entries: list[Any] = []
        self.calls: list[Call] = []
        self.accepted: list[Any] = []
        self.replies: dict[str, Reply | list[Reply] | Callable[[Call], Reply]] = {}
        self.valid_tokens: set[str] = set()
        self.expires_in: float | None = 300
        self.filters = False
        """Whether list understands ?fingerprint=."""
        self.takes = 0
        """How many of them it says that it takes; 0: it says nothing."""
        self.delay = delay
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                outer._handle(self)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_: object) -> None:
                pass  # clients that hang up are what some tests are about

            def get_request(self) -> tuple[socket.socket, Any]:
                connection, address = super().get_request()
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return connection, address

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def config(self, **more: Any) -> dict[str, Any]:
        """Writes a config.json for this server."""
        return {
            "token_endpoint": f"{self.url}/token",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "token_scope": "mfa:rw",
            "mfa_list_endpoint": f"{self.url}/keys",
            "mfa_accept_endpoint": f"{self.url}/accept",
            "login_path": "/sshaft/login",
            **more,
        }

    def count(self, path: str) -> int:
        with self._lock:
            return sum(call.path == path for call in self.calls)

    def revoke_tokens(self) -> None:
        self.valid_tokens.clear()

    # --- answers

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        secured = isinstance(handler.connection, ssl.SSLSocket)
        certificate = handler.connection.getpeercert() if secured else None
        peer = (str(handler.client_address[0]), int(handler.client_address[1]))
        call = Call(handler.command, parts.path, parse_qs(parts.query), headers, body, peer, certificate)
        with self._lock:
            self.calls.append(call)
            reply = self._chosen(call)
        if self.delay:
            time.sleep(self.delay)
        if reply.write is not None:
            with suppress(OSError):
                reply.write(handler.connection)
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.body)

    def _chosen(self, call: Call) -> Reply:
        override = self.replies.get(call.path)
        if isinstance(override, Reply):
            return override
        if isinstance(override, list):
            if override:
                return override.pop(0)
        elif override is not None:
            return override(call)
        default = {"/token": self._token, "/keys": self._keys, "/accept": self._accept}.get(call.path)
        return default(call) if default else Reply(404)

    def _token(self, call: Call) -> Reply:
        expected = {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scope": "mfa:rw",
        }
        if call.headers.get("content-type") != "application/x-www-form-urlencoded" or call.form != expected:
            return reply_json({"error": "invalid_client"}, 401)
        return self.new_token()

    def new_token(self) -> Reply:
        token = f"token-{len(self.calls)}-{time.monotonic_ns()}"
        self.valid_tokens.add(token)
        answer: dict[str, object] = {"access_token": token, "token_type": "bearer"}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return reply_json(answer)

    def _authorized(self, call: Call) -> bool:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        return scheme == "Bearer" and token in self.valid_tokens

    def _keys(self, call: Call) -> Reply:
        if not self._authorized(call):
            return reply_json({"error": "invalid_token"}, 401)
        if call.method != "GET" or call.body:
            return Reply(400)
        wanted = call.query.get("fingerprint")
        if self.filters and wanted:
            reply = reply_json([entry for entry in self.entries if _fingerprint(entry["authorized_key"]) in wanted])
            if self.takes:
                reply.headers["Sshaft-Fingerprints"] = str(self.takes)
            return reply
        return reply_json(self.entries)

    def _accept(self, call: Call) -> Reply:
        if not self._authorized(call):
            return reply_json({"error": "invalid_token"}, 401)
        body = call.json
        if call.headers.get("content-type") != "application/json" or list(body) != ["user"]:
            return Reply(400)
        if body["user"] not in [entry.get("user") for entry in self.entries if isinstance(entry, dict)]:
            return Reply(404)
        self.accepted.append(body["user"])
        return Reply(200)


def _fingerprint(key: str) -> str:
    digest = hashlib.sha256(base64.b64decode(key.split(" ")[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


# --- the ways of a server that is broken or means harm


def hang(seconds: float = 30) -> Reply:
    return Reply(write=lambda _: time.sleep(seconds))


def drip(seconds: float = 30, *, headers: bool = True) -> Reply:
    """Sends a byte every 0.1 s, so that no single read times out and the answer never ends."""

    def write(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: " if headers else b"HTTP/1.1 200 OK\r\n\r\n[")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(b"a" if headers else b" ")
            time.sleep(0.1)

    return Reply(write=write)


def gibibyte() -> Reply:
    def write(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(1024):
            connection.sendall(b" " * 1048576)

    return Reply(write=write)


HTML = Reply(200, b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"})
DEEP = Reply(200, b"[" * 100_000 + b"]" * 100_000)
ERROR = Reply(500, b'{"error": "internal"}')
BUSY = Reply(503, b"")


def redirect(to: str) -> Reply:
    return Reply(302, b"", {"Location": to})


@contextmanager
def black_hole() -> Iterator[int]:
    """Opens a port that accepts connections and never answers, not even a TLS handshake."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(256)
        yield int(listening.getsockname()[1])
