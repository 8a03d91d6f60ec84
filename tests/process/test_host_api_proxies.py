"""Tests the shipped configurations of nginx and Caddy with the real programs, in front of the real host-api."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import proxies
import pytest
import requests
import trustme
from fakes.host_api import FakeAgent
from fakes.unix_server import UnixServer

from sshaft_demo.parts import connects, free_port

SHIPPED = Path(__file__).parents[2] / "examples" / "host-api"
PATH = f"{os.environ['PATH']}:/usr/sbin"
LONG_TOKEN = "x" * (12 * 1024)
UNAVAILABLE = {"detail": "The service cannot answer now. Try again in a minute."}


@dataclass
class Proxy:
    url: str
    ca: Path
    stop_api: Callable[[], None]

    def get(self, path: str, token: str = "a.b.c", **headers: str) -> Any:
        wanted = {
            "Authorization": f"Bearer {token}",
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }
        return requests.get(f"{self.url}{path}", headers=wanted, verify=str(self.ca), timeout=20)

    def send(self, request: str) -> bytes:
        """Sends these bytes on one connection, and returns all that comes back."""
        context, port = ssl.create_default_context(cafile=self.ca), int(self.url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
            connection.makefile("rb") as answers,
        ):
            connection.sendall(request.encode())
            return answers.read()


@contextmanager
def running(command: list[str], is_ready: Callable[[], bool], **environment: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stderr
    try:
        deadline = time.monotonic() + 60
        while not is_ready():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


def nginx(directory: Path, port: int) -> list[str]:
    """Returns the command of nginx with the shipped configuration, whose paths and names are those of the test."""
    site = re.sub(r"(?m)^ *listen \[::\]:8443 ssl;\n", "", (SHIPPED / "nginx.conf").read_text())
    site = site.replace("listen 8443", f"listen 127.0.0.1:{port}").replace("/run/sshaft-host-api", str(directory))
    return proxies.nginx(directory, site)


def caddy(directory: Path, port: int) -> list[str]:
    """Returns the command of Caddy with the shipped configuration, whose paths and names are those of the test."""
    site = (SHIPPED / "Caddyfile").read_text().replace("ssh.example.org:8443", f"localhost:{port}")
    return proxies.caddy(directory, site.replace("/run/sshaft-host-api", str(directory)))


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path, agent: FakeAgent) -> Iterator[Proxy]:
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert("localhost")
    (tmp_path / "fullchain.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(tmp_path / "privkey.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = (SHIPPED / "host-api.json").read_text().replace("/run/sshaft-host-api", str(tmp_path))
    (tmp_path / "host-api.json").write_text(settings.replace("{", f'{{"agent_socket": "{agent.path}",', 1))
    command = request.param(tmp_path, port)
    program = shutil.which(command[0], path=PATH)
    if program is None:
        pytest.skip(f"needs {command[0]}: apt-get install {command[0]}")
    api = [sys.executable, "-m", "sshaft", "host-api", "--config", str(tmp_path / "host-api.json")]
    at = tmp_path / "http.sock"
    with (
        running(api, at.exists) as host_api,
        running([program, *command[1:]], lambda: connects(port), HOME=str(tmp_path)),
    ):

        def stop_api() -> None:
            host_api.terminate()
            host_api.wait(20)

        yield Proxy(f"https://localhost:{port}", tmp_path / "ca.pem", stop_api)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path / "agent.sock")
    fake.says_user("deployed")
    with UnixServer(fake.path, fake.answer):
        yield fake


def test_proxy_hands_on_long_tokens_and_names_the_client_itself(proxy: Proxy, agent: FakeAgent) -> None:
    answer = proxy.get("/motley_cue/user/get_status/", LONG_TOKEN, X_Forwarded_For="198.51.100.7")
    assert answer.json() == {"state": "deployed", "message": "username alice", "credentials": {}}
    assert agent.asked == [("api_user", {"action": "status", "token": LONG_TOKEN, "client_ip": "127.0.0.1"})]


def test_proxy_leaves_refusals_and_their_headers_as_they_are(proxy: Proxy, agent: FakeAgent) -> None:
    agent.denies("unauthenticated")
    answer = proxy.get("/user/deploy")
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    preflight = requests.options(f"{proxy.url}/user/deploy", verify=str(proxy.ca), timeout=20)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Methods"]) == (204, "GET, OPTIONS")


def test_proxy_answers_in_json_while_the_api_is_away(proxy: Proxy) -> None:
    proxy.stop_api()
    answer = proxy.get("/user/deploy")
    assert (answer.status_code, answer.headers["Content-Type"], answer.json()) == (503, "application/json", UNAVAILABLE)
    assert answer.headers["Retry-After"] == "2"


VERIFY = "/verify_user?username=alice"
LAST = "GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def request(target: str, *headers: str, body: str = "") -> str:
    """Returns a request with a token, after which the connection goes on."""
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Authorization: Bearer a.b.c", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]) + body


HIDDEN = request("/verify_user?username=root", "X-Forwarded-For: 198.51.100.7")
HIDING = {
    "a length": ([f"Content-Length: {len(HIDDEN)}"], HIDDEN),
    "a chunk": (["Transfer-Encoding: chunked"], f"{len(HIDDEN):x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
    "two lengths": (["Content-Length: 0", f"Content-Length: {len(HIDDEN)}"], HIDDEN),
    "a list of lengths": ([f"Content-Length: {len(HIDDEN)}, 0"], HIDDEN),
    "a length with a sign": ([f"Content-Length: +{len(HIDDEN)}"], HIDDEN),
    "a length and chunks": (
        [f"Content-Length: {len(HIDDEN) + 5}", "Transfer-Encoding: chunked"], f"0\r\n\r\n{HIDDEN}"
    ),
    "two encodings": (["Transfer-Encoding: chunked, identity"], f"0\r\n\r\n{HIDDEN}"),
    "an unknown encoding": (["Transfer-Encoding: xchunked"], f"0\r\n\r\n{HIDDEN}"),
    "a blank before the colon": (["Transfer-Encoding : chunked"], f"0\r\n\r\n{HIDDEN}"),
    "a folded header": (["X: y", f" Content-Length: {len(HIDDEN)}"], HIDDEN),
    "a bare line feed": ([f"X: y\nContent-Length: {len(HIDDEN)}"], HIDDEN),
    "an extension of a chunk": (["Transfer-Encoding: chunked"], f"0;x=\n\r\n\r\n{HIDDEN}"),
    "an upgrade": (["Connection: Upgrade", "Upgrade: h2c"], HIDDEN),
}  # fmt: skip


def test_hidden_request_names_no_client_and_takes_no_answer_of_another_one(proxy: Proxy, agent: FakeAgent) -> None:
    """The proxy and host-api share connections. Both must find the same end of each request."""
    agent.answers["api_verify"] = ("verify", {"state": "deployed", "verified": "1"})
    for headers, body in HIDING.values():
        proxy.send(request(VERIFY, *headers, body=body) + LAST)
        for _ in range(3):
            assert proxy.get("/user/get_status").json()["message"] == "username alice"
    assert {fields.get("client_ip", "127.0.0.1") for _, fields in agent.asked} == {"127.0.0.1"}


ODD = [
    request(VERIFY, "Authorization: Bearer d.e.f"),
    request(VERIFY, "authorization : Bearer d.e.f"),
    request(VERIFY, "Authorization_: Bearer d.e.f", "X_Authorization: Bearer d.e.f"),
    request(VERIFY, "X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 198.51.100.8"),
    request(VERIFY, "X_Forwarded_For: 198.51.100.7", "X-Real-IP: 198.51.100.7", "Forwarded: for=198.51.100.7"),
    request(VERIFY, "X-Original-URL: /verify_user?username=root", "X-Rewrite-URL: /verify_user?username=root"),
    request(VERIFY, "Connection: close, Authorization, X-Forwarded-For"),
    request(f"{VERIFY}&username=root"),
    request(f"{VERIFY}&%75sername=root"),
    request(f"{VERIFY}#&username=root"),
    request("/verify_user%3Fusername=root"),
    request("/verify_user;username=root?username=alice"),
    request("http://other/verify_user?username=alice"),
]
"""Requests that two programs could read in two ways."""


def test_proxy_and_service_never_ask_about_a_second_token_name_or_client(proxy: Proxy, agent: FakeAgent) -> None:
    agent.answers["api_verify"] = ("verify", {"state": "deployed", "verified": "1"})
    for each in ODD:
        proxy.send(each + LAST)
    alice = ("api_verify", {"user": "alice", "token": "a.b.c", "client_ip": "127.0.0.1"})
    assert alice in agent.asked
    assert [asked for asked in agent.asked if asked[0] == "api_verify" and asked != alice] == []
