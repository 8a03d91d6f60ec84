"""Tests HTTP exchanges with servers that are slow, broken or hostile, over real sockets and real TLS."""

import gzip
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from fakes.identity_server import (
    BUSY,
    ERROR,
    IdentityServer,
    Reply,
    black_hole,
    drip,
    gibibyte,
    hang,
    redirect,
    reply_json,
)

from sshaft.deadline import Deadline
from sshaft.errors import ReachError, RemoteServiceError
from sshaft.http_client import HttpClient

SHORT = 0.15
"""Seconds for an exchange that is meant to end at its deadline."""
FILES = Path("/proc/self/fd")
LATE = 0.4
"""Seconds after the deadline that a busy machine may need."""


@pytest.fixture
def http() -> Iterator[HttpClient]:
    client = HttpClient()
    yield client
    client.close()


def send(client: HttpClient, url: str, seconds: float = 5, method: str = "GET", **request: Any) -> Any:
    return client.send(method, url, Deadline.after(seconds), **request)


def raw(data: bytes) -> Reply:
    return Reply(write=lambda connection: connection.sendall(data))


def dripping(head: bytes, byte: bytes) -> Reply:
    def write(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(byte)
            time.sleep(0.05)

    return Reply(write=write)


def test_answer_is_returned_as_it_was_sent(http: HttpClient, identity: IdentityServer) -> None:
    identity.replies["/x"] = Reply(418, b'{"a": 1}', {"X-Thing": "y"})
    answer = send(http, f"{identity.url}/x?q=1", headers={"X-Request-ID": "abc"})
    assert (answer.status, answer.body, answer.headers["x-thing"]) == (418, b'{"a": 1}', "y")
    (call,) = identity.calls
    assert call.query == {"q": ["1"]}
    assert call.headers["x-request-id"] == "abc"
    assert call.headers["user-agent"].startswith("sshaft/")
    assert call.headers["accept"] == "application/json"


# --- time


OK = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "says nothing": hang(5),
    "drips its headers": drip(5, headers=True),
    "drips its body": drip(5, headers=False),
    "drips its status line": dripping(b"HT", b"T"),
    "drips new headers": dripping(OK, b"X: y\r\n"),
    "drips blanks behind a whole list": dripping(OK + b"\r\n[]", b" "),
    "drips a body of known length": dripping(OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "drips chunks": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "drips one chunk": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", b" "),
    "drips early hints": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize(
    ("name", "tls"),
    [*((name, False) for name in SLOW), ("says nothing", True), ("drips its headers", True), ("drips its body", True)],
)
def test_client_does_not_wait_for_a_slow_server(authority: Any, name: str, tls: bool) -> None:
    with IdentityServer(tls=authority.server() if tls else None) as server:
        server.replies["/x"] = SLOW[name]
        client = HttpClient(ca_file=authority.file)
        began = time.monotonic()
        with pytest.raises(ReachError, match="no whole answer in time") as error:
            send(client, f"{server.url}/x", SHORT)
        assert SHORT * 0.9 < time.monotonic() - began < SHORT + LATE
        assert not error.value.unsent
        client.close()


def test_client_does_not_wait_for_a_hanging_tls_handshake(authority: Any) -> None:
    with black_hole() as port:
        client = HttpClient(ca_file=authority.file)
        began = time.monotonic()
        with pytest.raises(ReachError):
            send(client, f"https://localhost:{port}/x", SHORT)
        assert time.monotonic() - began < SHORT + LATE


def test_client_does_not_wait_for_a_hanging_proxy(authority: Any) -> None:
    with black_hole() as port:
        client = HttpClient(ca_file=authority.file, proxy=f"http://127.0.0.1:{port}")
        began = time.monotonic()
        with pytest.raises(ReachError):
            send(client, "https://identity.invalid/x", SHORT)
        assert time.monotonic() - began < SHORT + LATE


def test_client_without_time_sends_nothing(http: HttpClient, identity: IdentityServer) -> None:
    with pytest.raises(ReachError) as error:
        send(http, f"{identity.url}/x", 0)
    assert error.value.unsent
    assert identity.calls == []


def test_exchange_after_an_aborted_exchange_succeeds(http: HttpClient, identity: IdentityServer) -> None:
    identity.replies["/slow"] = hang(5)
    identity.replies["/x"] = reply_json("ok")
    with pytest.raises(ReachError):
        send(http, f"{identity.url}/slow", 0.1)
    assert send(http, f"{identity.url}/x").body == b'"ok"'


def test_each_of_several_exchanges_ends_at_its_own_deadline(http: HttpClient, identity: IdentityServer) -> None:
    identity.replies["/x"] = drip(5)

    def late(seconds: float) -> float:
        began = time.monotonic()
        with pytest.raises(ReachError, match="no whole answer in time"):
            send(http, f"{identity.url}/x", seconds)
        return time.monotonic() - began - seconds

    times = [0.6, 0.2, 0.4, 0.1, 0.5, 0.3]
    with ThreadPoolExecutor(len(times)) as pool:
        assert all(-0.05 < each < LATE for each in pool.map(late, times))
    assert late(SHORT) < LATE  # after all exchanges have ended


def test_hundred_exchanges_leave_no_thread_and_no_file_behind(http: HttpClient, identity: IdentityServer) -> None:
    identity.replies["/x"] = reply_json("ok")
    send(http, f"{identity.url}/x")
    files, threads = len(list(FILES.iterdir())), threading.active_count()
    for _ in range(100):
        send(http, f"{identity.url}/x", 60)
    assert threading.active_count() <= threads + 1
    assert len(list(FILES.iterdir())) <= files + 1


# --- size and form


def test_huge_body_is_not_read(http: HttpClient, identity: IdentityServer) -> None:
    identity.replies["/x"] = gibibyte()
    began = time.monotonic()
    with pytest.raises(RemoteServiceError, match="larger than 8192 KiB") as error:
        send(http, f"{identity.url}/x", 20)
    assert not isinstance(error.value, ReachError)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"], ids=["until closed", "chunked"])
def test_endless_body_is_not_read(identity: IdentityServer, head: bytes) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(OK + head + b"\r\n")
        part = b"a" * 65536
        while True:
            connection.sendall(b"10000\r\n" + part + b"\r\n" if head else part)

    identity.replies["/x"] = Reply(write=endless)
    client = HttpClient(max_answer=256 * 1024)
    with pytest.raises(RemoteServiceError, match="larger than 256 KiB"):
        send(client, f"{identity.url}/x")
    client.close()


def test_body_at_the_limit_is_read_and_a_longer_body_is_not(identity: IdentityServer) -> None:
    client = HttpClient(max_answer=1000)
    identity.replies["/x"] = [Reply(200, b"a" * 1000), Reply(200, b"a" * 1001)]
    assert len(send(client, f"{identity.url}/x").body) == 1000
    with pytest.raises(RemoteServiceError, match="larger"):
        send(client, f"{identity.url}/x")
    client.close()


BROKEN = {
    "closes at once": raw(b""),
    "is no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "sends noise": raw(os.urandom(1000)),
    "promises more than it sends": raw(OK + b"Content-Length: 100\r\n\r\n[]"),
    "breaks off a chunk": raw(OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\n[]"),
    "sends a chunk of no size": raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n[]"),
    "sends a header without end": raw(OK + b"X: " + b"a" * 100_000),
    "sends ten thousand headers": raw(OK + b"X: y\r\n" * 10_000 + b"\r\n[]"),
    "sends an odd status": raw(b"HTTP/1.1 9999999 OK\r\n\r\n"),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_broken_answer_is_an_error(http: HttpClient, identity: IdentityServer, reply: Reply) -> None:
    identity.replies["/x"] = reply
    with pytest.raises(ReachError) as error:
        send(http, f"{identity.url}/x")
    assert not error.value.unsent
    assert str(error.value).startswith(f"{identity.url}/x: ")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirect_is_not_followed(http: HttpClient, identity: IdentityServer, status: int, method: str) -> None:
    with IdentityServer() as other:
        identity.replies["/x"] = Reply(status, b"", {"Location": f"{other.url}/stolen"})
        with pytest.raises(RemoteServiceError, match="redirect") as error:
            send(http, f"{identity.url}/x", method=method, headers={"Authorization": "Bearer t"})
        assert not isinstance(error.value, ReachError)
        assert other.calls == []
    assert identity.count("/x") == 1


def test_redirect_to_itself_is_not_followed(http: HttpClient, identity: IdentityServer) -> None:
    identity.replies["/x"] = redirect("/x")
    with pytest.raises(RemoteServiceError, match="redirect"):
        send(http, f"{identity.url}/x")
    assert identity.count("/x") == 1


@pytest.mark.parametrize(
    ("reply", "unsent"),
    [(ERROR, False), (Reply(502), False), (BUSY, True), (Reply(504), False), (Reply(599), False), (Reply(429), False)],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_temporary_failure_of_the_server_may_be_tried_again(
    http: HttpClient, identity: IdentityServer, reply: Reply, unsent: bool
) -> None:
    identity.replies["/x"] = reply
    with pytest.raises(ReachError, match=str(reply.status)) as error:
        send(http, f"{identity.url}/x")
    assert error.value.unsent is unsent


def test_too_many_requests_with_a_reason_is_an_answer(http: HttpClient, identity: IdentityServer) -> None:
    identity.replies["/x"] = reply_json({"error": "too_many_attempts"}, 429)
    assert send(http, f"{identity.url}/x").status == 429


def test_refused_connection_is_known_to_have_sent_nothing(http: HttpClient) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(ReachError, match="Connection refused") as error:
            send(http, f"http://127.0.0.1:{reserved.getsockname()[1]}/x?secret=1")
    assert error.value.unsent
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("reply", [ERROR, redirect("/x")], ids=["500", "redirect"])
def test_failure_names_the_peer(identity: IdentityServer, reply: Reply) -> None:
    identity.replies["/x"] = reply
    http = HttpClient(peer="microsoft")
    with pytest.raises(RemoteServiceError) as error:
        send(http, f"{identity.url}/x")
    http.close()
    assert (error.value.peer, error.value.code) == ("microsoft", "microsoft_unavailable")


def test_host_that_does_not_exist_is_known_to_have_sent_nothing(http: HttpClient) -> None:
    with pytest.raises(ReachError) as error:
        send(http, "https://identity.invalid/x")
    assert error.value.unsent


# --- what is not sent


def test_compression_is_neither_requested_nor_undone(http: HttpClient, identity: IdentityServer) -> None:
    packed = gzip.compress(b"[" + b" " * 10_000_000 + b"]")
    identity.replies["/x"] = Reply(200, packed, {"Content-Encoding": "gzip"})
    assert send(http, f"{identity.url}/x").body == packed
    assert identity.calls[0].headers["accept-encoding"] == "identity"


def test_cookies_are_never_sent_back(http: HttpClient, identity: IdentityServer) -> None:
    identity.replies["/x"] = Reply(200, b"", {"Set-Cookie": "session=1; Path=/"})
    for _ in range(3):
        send(http, f"{identity.url}/x")
    assert not any("cookie" in call.headers for call in identity.calls)


def test_proxies_of_the_environment_are_ignored(identity: IdentityServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with IdentityServer() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        client = HttpClient()
        send(client, f"{identity.url}/x")
        client.close()
        assert proxy.calls == []
    assert identity.count("/x") == 1


def test_password_files_of_the_environment_are_ignored(
    identity: IdentityServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    client = HttpClient()
    send(client, f"{identity.url}/x")
    client.close()
    assert "authorization" not in identity.calls[0].headers


def test_proxy_of_the_configuration_is_used() -> None:
    with IdentityServer() as proxy:
        client = HttpClient(proxy=proxy.url)
        send(client, "http://identity.invalid/x")
        client.close()
        assert [call.headers["host"] for call in proxy.calls] == ["identity.invalid"]


# --- TLS


def test_server_of_the_configured_authority_is_trusted(authority: Any) -> None:
    with IdentityServer(tls=authority.server()) as server:
        client = HttpClient(ca_file=authority.file)
        server.replies["/x"] = reply_json("ok")
        assert send(client, f"{server.url}/x").body == b'"ok"'
        client.close()


def expired(authority: Any) -> ssl.SSLContext:
    return authority.server(not_after=datetime.now(UTC) - timedelta(days=1))  # type: ignore[no-any-return]


UNTRUSTED: dict[str, Callable[[Any], ssl.SSLContext]] = {
    "another authority": lambda _: _server_of(trustme.CA()),
    "another name": lambda authority: authority.server("other.example"),
    "an address, not the name": lambda authority: authority.server("127.0.0.1"),
    "an expired certificate": expired,
}


def _server_of(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    return context


@pytest.mark.parametrize("server_context", UNTRUSTED.values(), ids=UNTRUSTED)
def test_server_with_a_wrong_certificate_gets_no_request(
    authority: Any, server_context: Callable[[Any], ssl.SSLContext]
) -> None:
    with IdentityServer(tls=server_context(authority)) as server:
        client = HttpClient(ca_file=authority.file)
        with pytest.raises(RemoteServiceError, match="TLS") as error:
            send(client, f"{server.url}/x", headers={"Authorization": "Bearer t"})
        assert not isinstance(error.value, ReachError)
        assert server.calls == []
        client.close()


def test_old_tls_is_refused(authority: Any) -> None:
    context = authority.server()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with IdentityServer(tls=context) as server:
        client = HttpClient(ca_file=authority.file)
        with pytest.raises(RemoteServiceError):
            send(client, f"{server.url}/x")
        assert server.calls == []
        client.close()


def test_authorities_of_the_environment_are_ignored(authority: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(authority.file))
    with IdentityServer(tls=authority.server()) as server:
        client = HttpClient()
        with pytest.raises(RemoteServiceError, match="TLS"):
            send(client, f"{server.url}/x")
        assert server.calls == []
        client.close()


def test_server_without_tls_is_refused(authority: Any, identity: IdentityServer) -> None:
    client = HttpClient(ca_file=authority.file)
    with pytest.raises(RemoteServiceError):
        send(client, f"https://localhost:{identity.port}/x")
    assert identity.calls == []
    client.close()


def test_client_certificate_is_sent(authority: Any, tmp_path: Path) -> None:
    with IdentityServer(tls=authority.server(demands_certificate=True)) as server:
        server.replies["/x"] = reply_json("ok")
        stranger = HttpClient(ca_file=authority.file)
        with pytest.raises(RemoteServiceError):
            send(stranger, f"{server.url}/x")
        assert server.calls == []
        client = HttpClient(ca_file=authority.file, certificate=authority.client("factor", tmp_path))
        assert send(client, f"{server.url}/x").status == 200
        assert server.calls[0].certificate["subjectAltName"] == (("email", "factor@clients.example"),)
        stranger.close()
        client.close()


@pytest.mark.parametrize("garbled", ["certificate", "key", "authorities"])
def test_malformed_pem_file_is_an_error(authority: Any, tmp_path: Path, garbled: str) -> None:
    certificate, key = authority.client("factor", tmp_path)
    (junk := tmp_path / "junk.pem").write_text("no PEM\n")
    with IdentityServer(tls=authority.server(demands_certificate=True)) as server:
        client = HttpClient(
            ca_file=junk if garbled == "authorities" else authority.file,
            certificate=(junk if garbled == "certificate" else certificate, junk if garbled == "key" else key),
        )
        with pytest.raises(RemoteServiceError):
            send(client, f"{server.url}/x")
        assert server.calls == []
        client.close()


# --- connections


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_connection_is_kept_for_the_next_exchange(authority: Any, tls: bool) -> None:
    with IdentityServer(tls=authority.server() if tls else None) as server:
        server.replies["/x"] = reply_json("ok")
        client = HttpClient(ca_file=authority.file)
        for _ in range(10):
            send(client, f"{server.url}/x")
        assert len({call.peer for call in server.calls}) == 1
        client.close()


def test_connection_that_the_server_has_closed_is_opened_anew(http: HttpClient, identity: IdentityServer) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"  # announces keep-alive, but the server closes
    identity.replies["/x"] = raw(body)
    for _ in range(5):
        assert send(http, f"{identity.url}/x", method="POST").body == b"[]"
        time.sleep(0.02)
