"""Tests the checks of the module's file, of the way to the agent's socket, and of the provider's metadata."""

import json
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from fakes.unix_server import UnixServer

from sshaft import messages
from sshaft_doctor.findings import Severity
from sshaft_doctor.host_login import host, provider
from sshaft_doctor.host_login.pam_stack import Line

STATUS = messages.encode("status", {"json": json.dumps({"host_logins_waiting": 0, "refused_configuration": None})})


@pytest.fixture
def runtime() -> Iterator[Path]:
    """Returns the folder of an agent that root trusts, with a folder for host login."""
    if os.geteuid() != 0:
        pytest.skip("needs root: an ordinary user has no folder that sshd would trust")
    with tempfile.TemporaryDirectory(prefix="sshaft-test-", dir="/run") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "host").mkdir(mode=0o700)
        os.chown(folder / "host", 64801, 64801)
        yield folder


def told(path: Path) -> list[tuple[str, Severity]]:
    return [(each.check, each.severity) for each in host.examine_socket(path)]


@pytest.mark.root
def test_agent_that_listens_is_right(runtime: Path) -> None:
    path = runtime / "host" / "agent.sock"
    with UnixServer(path, b""), UnixServer(runtime / "status.sock", STATUS):
        assert told(path) == [("agent.status", Severity.OK), ("host.socket", Severity.OK)]


@pytest.mark.root
def test_folder_that_others_can_change_is_an_error(runtime: Path) -> None:
    path = runtime / "host" / "agent.sock"
    with UnixServer(path, b""):
        for folder in (runtime, runtime / "host"):
            before = folder.stat().st_mode & 0o777
            folder.chmod(0o777)
            (found,) = host.examine_socket(path)
            folder.chmod(before)
            assert (found.severity, found.where, found.remedy) == (
                Severity.ERROR, str(folder), f"chmod go-w {folder}"
            )  # fmt: skip
        os.chown(runtime, 64802, 64802)
        (found,) = host.examine_socket(path)
        assert (found.severity, found.where) == (Severity.ERROR, str(runtime / "host"))


@pytest.mark.root
def test_symbolic_link_on_the_way_is_an_error(runtime: Path) -> None:
    (runtime / "link").symlink_to("host")
    with UnixServer(runtime / "host" / "agent.sock", b""):
        (found,) = host.examine_socket(runtime / "link" / "agent.sock")
    assert (found.severity, found.remedy) == (Severity.ERROR, f"socket={runtime}/host/agent.sock in the stack")


@pytest.mark.root
def test_agent_that_does_not_listen_is_an_error(runtime: Path) -> None:
    path = runtime / "host" / "agent.sock"
    assert told(path) == [("host.socket", Severity.ERROR)]
    with UnixServer(path, b""):
        pass
    (found,) = host.examine_socket(path)
    assert "Connection refused" in found.what
    assert told(runtime / "none" / "agent.sock") == [("host.socket", Severity.ERROR)]


def test_module_that_is_missing_is_an_error(tmp_path: Path) -> None:
    line = Line(tmp_path / "sshd", 3, "auth", {"default": "die"}, str(tmp_path / "pam_sshaft.so"))
    (found,) = host.module(line)
    assert (found.severity, found.where) == (Severity.ERROR, f"{tmp_path}/sshd:3")
    assert [each.severity for each in host.module(Line(line.path, 3, "auth", {}, "pam_no_such_module.so"))] == [
        Severity.ERROR
    ]


def test_module_that_others_can_change_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pam_sshaft.so"
    path.touch()
    path.chmod(0o666)
    found = host.module(Line(tmp_path / "sshd", 3, "auth", {}, str(path)))
    assert (Severity.ERROR, str(path)) in [(each.severity, each.where) for each in found]


class Metadata:
    """A provider that publishes metadata, at a time of its own."""

    def __init__(self) -> None:
        self.answer: object = {}
        self.status = 200
        self.now = datetime.now(UTC)
        parent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(parent.answer).encode()
                self.send_response_only(parent.status)
                self.send_header("Date", self.date_time_string(parent.now.timestamp()))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.005,), daemon=True).start()
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.answer = {"issuer": self.issuer, "device_authorization_endpoint": f"{self.issuer}/device"}


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    served = Metadata()
    yield served
    served.server.shutdown()
    served.server.server_close()


def asked(settings: object) -> list[tuple[str, Severity]]:
    return [(each.check, each.severity) for each in provider.examine(settings, "config.json")]


def test_provider_that_answers_is_right(metadata: Metadata) -> None:
    assert asked({"issuer": metadata.issuer}) == [("host.provider", Severity.OK)]


@pytest.mark.parametrize(
    ("answer", "status", "severity"),
    [
        ({}, 404, Severity.ERROR),
        ([], 200, Severity.ERROR),
        ({"issuer": "http://127.0.0.1/other", "device_authorization_endpoint": "x"}, 200, Severity.WARNING),
    ],
)
def test_metadata_that_the_agent_cannot_use_has_a_finding(
    metadata: Metadata, answer: object, status: int, severity: Severity
) -> None:
    metadata.answer, metadata.status = answer, status
    assert asked({"issuer": metadata.issuer}) == [("host.provider", severity)]
    # With addresses of its own in the configuration, the agent needs no metadata.
    assert asked({"issuer": metadata.issuer, "endpoints": {}}) == [("host.provider", Severity.OK)]


def test_provider_without_device_login_is_an_error(metadata: Metadata) -> None:
    metadata.answer = {"issuer": metadata.issuer}
    assert asked({"issuer": metadata.issuer}) == [("host.provider", Severity.ERROR)]


@pytest.mark.parametrize(
    ("form", "endpoint"),
    [("jwt", "jwks_uri"), ("introspection", "introspection_endpoint"), ("userinfo", "userinfo_endpoint")],
)
def test_provider_of_access_tokens_needs_what_its_form_asks(metadata: Metadata, form: str, endpoint: str) -> None:
    settings = {"tokens": [{"issuer": metadata.issuer, "form": form}]}
    metadata.answer = {"issuer": metadata.issuer}
    assert asked(settings) == [("host.provider", Severity.ERROR)]
    metadata.answer = {"issuer": metadata.issuer, endpoint: f"{metadata.issuer}/x"}
    assert asked(settings) == [("host.provider", Severity.OK)]


def test_each_provider_of_access_tokens_is_asked_beside_the_one_of_the_browser(metadata: Metadata) -> None:
    settings = {"issuer": metadata.issuer, "tokens": [{"issuer": "http://127.0.0.1:9"}, {"issuer": metadata.issuer}]}
    severities = [Severity.OK, Severity.ERROR, Severity.ERROR]
    assert asked(settings) == [("host.provider", each) for each in severities]


@pytest.mark.parametrize("seconds", [-120, 120])
def test_clock_is_compared_with_the_provider_s(metadata: Metadata, seconds: int) -> None:
    metadata.now = datetime.fromtimestamp(datetime.now(UTC).timestamp() + seconds, UTC)
    assert asked({"issuer": metadata.issuer}) == [("host.clock", Severity.ERROR)]


def test_provider_that_does_not_answer_is_an_error() -> None:
    assert asked({"issuer": "http://127.0.0.1:9"}) == [("host.provider", Severity.ERROR)]


@pytest.mark.parametrize("settings", [{}, [], 7, {"issuer": 7}, {"issuer": "file:///etc/passwd"}])
def test_configuration_without_an_issuer_is_an_error(settings: object) -> None:
    assert asked(settings) == [("host.provider", Severity.ERROR)]


def test_file_of_another_module_is_not_checked() -> None:
    assert asked("/etc/pam_oauth2_device/config.json") == [("host.provider", Severity.NOTE)]


def test_file_without_host_login_has_no_finding(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for text in ("{}", "no JSON"):
        path.write_text(text)
        assert provider.read_and_ask(path) == {"is_there": False, "findings": []}
