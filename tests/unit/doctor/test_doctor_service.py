"""Tests the checks of the identity service and its clock."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.identity_server import ERROR, HTML, IdentityServer, Reply, redirect, reply_json

from sshaft import config
from sshaft_doctor import service
from sshaft_doctor.findings import Severity

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)

Write = Callable[..., Path]


def examine(identity: IdentityServer, write_config: Write, **more: Any) -> list[tuple[str, Severity]]:
    settings = config.load(write_config(identity.config(**more)))
    return [(found.check, found.severity) for found in service.examine(settings, "config.json")]


def test_working_service_is_one_line(identity: IdentityServer, write_config: Write) -> None:
    assert examine(identity, write_config) == [("service.list", Severity.OK)]
    assert identity.accepted == []
    asked = [call.query.get("fingerprint", [""])[0] for call in identity.calls if call.path == "/keys"]
    assert asked
    assert all(fingerprint.startswith("SHA256:") for fingerprint in asked)


def test_wrong_secret_has_a_finding(identity: IdentityServer, write_config: Write) -> None:
    assert examine(identity, write_config, client_secret="wrong") == [("service.token", Severity.ERROR)]


def test_wrong_scope_and_wrong_endpoint_have_findings(identity: IdentityServer, write_config: Write) -> None:
    assert examine(identity, write_config, token_scope="other") == [("service.token", Severity.ERROR)]
    wrong = examine(identity, write_config, mfa_list_endpoint=f"{identity.url}/elsewhere")
    assert wrong == [("service.list", Severity.ERROR)]


@pytest.mark.parametrize("reply", [ERROR, redirect("http://127.0.0.1:1/")])
def test_broken_service_has_one_finding(identity: IdentityServer, write_config: Write, reply: Reply) -> None:
    identity.replies["/keys"] = reply
    assert examine(identity, write_config) == [("service.reach", Severity.ERROR)]


def test_answer_that_is_no_list_has_a_finding(identity: IdentityServer, write_config: Write) -> None:
    identity.replies["/keys"] = lambda call: HTML if "authorization" in call.headers else Reply(401)
    assert examine(identity, write_config) == [("service.list", Severity.ERROR)]


def test_list_that_is_open_to_strangers_has_a_finding(identity: IdentityServer, write_config: Write) -> None:
    identity.replies["/keys"] = reply_json([])
    assert examine(identity, write_config) == [("service.open", Severity.ERROR), ("service.list", Severity.OK)]


def test_entries_that_are_left_out_have_a_finding(identity: IdentityServer, write_config: Write) -> None:
    identity.entries = [{"user": "alice", "authorized_key": "ssh-dss AAAA"}]
    assert examine(identity, write_config) == [("service.list", Severity.WARNING)]


def test_service_that_is_down_has_a_finding(write_config: Write) -> None:
    with IdentityServer() as gone:
        values = gone.config()
    settings = config.load(write_config(values))
    (found,) = service.examine(settings, "config.json")
    assert (found.check, found.severity) == ("service.reach", Severity.ERROR)
    assert "Connection refused" in found.what


def test_server_without_tls_has_a_finding(write_config: Write) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        base = f"https://localhost:{port}"
        values = {
            "token_endpoint": f"{base}/token", "client_id": "x", "client_secret": "y", "login_path": "/sshaft/login",
            "mfa_list_endpoint": f"{base}/keys", "mfa_accept_endpoint": f"{base}/accept",
        }  # fmt: skip
        settings = config.load(write_config(values))
        listening.close()
        (found,) = service.examine(settings, "config.json")
    assert found.check == "service.reach"


@pytest.mark.parametrize(
    ("seconds", "severity", "word"),
    [(6, Severity.WARNING, "ahead of"), (-20, Severity.WARNING, "behind"), (31, Severity.ERROR, "ahead of")],
)
def test_wrong_clock_has_a_finding(seconds: int, severity: Severity, word: str) -> None:
    date = format_datetime(NOW - timedelta(seconds=seconds), usegmt=True)
    (found,) = service.clock(date, NOW, "x")
    assert (found.check, found.severity) == ("service.clock", severity)
    assert word in found.what


@pytest.mark.parametrize(
    "date", [None, "", "yesterday", format_datetime(NOW), format_datetime(NOW + timedelta(seconds=5))]
)
def test_right_or_unknown_clock_has_no_finding(date: str | None) -> None:
    assert service.clock(date, NOW, "x") == []


def test_clock_of_the_service_is_compared(identity: IdentityServer, write_config: Write) -> None:
    def old(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 401 No\r\nDate: Fri, 01 May 2020 12:00:00 GMT\r\nContent-Length: 0\r\n\r\n")

    identity.replies["/keys"] = lambda call: reply_json([]) if "authorization" in call.headers else Reply(write=old)
    assert examine(identity, write_config) == [("service.clock", Severity.ERROR), ("service.list", Severity.OK)]
