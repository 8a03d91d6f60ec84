"""Tests what the doctor says of a service's answers, of its certificate, and of a proxy."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from socket import AF_UNIX

import pytest
import trustme

from sshaft_doctor.findings import Finding, Severity
from sshaft_doctor.host_api import certificate, service
from sshaft_doctor.host_api.service import Address

ISSUER = "https://op.example"
INFO = {"login_info": {"ssh_host": "localhost"}, "supported_OPs": [ISSUER], "ops_info": {}}


class UnixServer(HTTPServer):
    address_family = AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(str(self.server_address))


@contextmanager
def serving(
    body: bytes, status: int = 200, *, path: str = "", certificate: trustme.LeafCert | None = None
) -> Iterator[Address]:
    """Yields the address of a service with one answer, at a UNIX socket or a port, with or without TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return ""

    kind = UnixServer if path else ThreadingHTTPServer
    with kind(path or ("127.0.0.1", 0), Handler) as server:  # type: ignore[arg-type]
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            certificate.configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield Address(path) if path else Address(port=server.server_port, has_tls=certificate is not None)
        server.shutdown()


def told(found: list[Finding]) -> list[tuple[str, Severity]]:
    return [(each.check, each.severity) for each in found]


def test_service_at_a_unix_socket_is_asked(tmp_path: Path) -> None:
    with serving(json.dumps(INFO).encode(), path=str(tmp_path / "s")) as address:
        found = service.examine(address, [ISSUER], ports=[1])
    assert told(found) == [("api.info", Severity.OK), ("api.proxy", Severity.NOTE)]
    assert found[0].where == str(tmp_path / "s")


@pytest.mark.parametrize(
    ("body", "status", "what"),
    [
        (b"{}", 200, "is not host-api (status 200, 2 bytes)"),
        (b"<html>", 404, "is not host-api (status 404, 6 bytes)"),
        (b"[" * 200_000, 200, "is not host-api (status 200, 200000 bytes)"),
        (b"[]", 200, "is not host-api"),
        (b'{"supported_OPs": 7, "login_info": {}}', 200, "is not host-api"),
        (b'{"supported_OPs": [], "login_info": []}', 200, "is not host-api"),
        (b'{"detail":"x"}', 503, "has no answer of the agent"),
    ],
)
def test_answer_that_is_not_of_host_api_is_an_error(body: bytes, status: int, what: str) -> None:
    with serving(body, status) as address:
        (found,) = service.examine(address, [ISSUER])
    assert (found.check, found.severity) == ("api.info", Severity.ERROR)
    assert what in found.what


def test_answer_without_an_end_is_given_up() -> None:
    """A service that sends byte after byte does not hold the doctor."""
    with endless() as address:
        (found,) = service.examine(address, [ISSUER], seconds=1)
    assert "no answer in 1 s" in found.what


@contextmanager
def endless() -> Iterator[Address]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with_end = threading.Event()
            while not with_end.wait(0.1):
                self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield Address(port=server.server_port)
        server.shutdown()


def test_proxy_with_tls_is_found_below_the_prefix_that_clients_ask() -> None:
    body, leaf = json.dumps(INFO).encode(), trustme.CA().issue_cert("localhost")
    with serving(body) as address, serving(body, certificate=leaf) as proxy:
        found = service.examine(address, [ISSUER], ports=[1, proxy.port])
    assert told(found) == [("api.info", Severity.OK), ("api.tls", Severity.WARNING)]
    assert "refuse the certificate: unable to get local issuer certificate" in found[1].what


def certified(name: str, authorities: Path, *names: str, ends: datetime | None = None) -> list[Finding]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(authorities)
    leaf = authority.issue_cert(*names, not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=ends)
    with serving(b"", certificate=leaf) as address:
        return certificate.examine("127.0.0.1", address.port, name, authorities)


def test_certificate_is_right_for_the_name_of_the_host(tmp_path: Path) -> None:
    (found,) = certified("web1.example.org", tmp_path / "ca.pem", "web1.example.org")
    assert found.severity == Severity.OK


def test_certificate_for_another_name_is_a_warning(tmp_path: Path) -> None:
    (found,) = certified("web1.example.org", tmp_path / "ca.pem", "web2.example.org")
    assert found.severity == Severity.WARNING
    assert "not valid for 'web1.example.org'" in found.what


@pytest.mark.parametrize(
    ("ends_in", "severity", "what"),
    [
        (timedelta(days=-1), Severity.ERROR, "the certificate has expired"),
        (timedelta(days=6), Severity.WARNING, "the certificate ends on"),
        (timedelta(days=8), Severity.OK, "is valid until"),
    ],
)
def test_end_of_the_certificate_is_told(tmp_path: Path, ends_in: timedelta, severity: Severity, what: str) -> None:
    (found,) = certified("localhost", tmp_path / "ca.pem", "localhost", ends=datetime.now(UTC) + ends_in)
    assert found.severity == severity
    assert what in found.what
