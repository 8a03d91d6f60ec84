"""`sshaft identity serve` as a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from sshaft.errors import ListenError
from sshaft.http_server.server import listen


def identity(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), *arguments]


def run(directory: Path, *arguments: str) -> str:
    return subprocess.run(
        identity(directory, *arguments), check=True, capture_output=True, text=True, timeout=30
    ).stdout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    run(tmp_path / "id", "init", "--listen", "127.0.0.1:0")
    run(tmp_path / "id", "user", "add", "alice")
    return tmp_path / "id"


@pytest.fixture
def process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(identity(directory, "serve"), **pipes) as process:
        yield process
        process.kill()


class Manager:
    """Receives what a service tells systemd (sd_notify(3)), at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(10)

    def notified(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))

    def close(self) -> None:
        self._socket.close()


@contextmanager
def managed(directory: Path) -> Iterator[tuple[Manager, subprocess.Popen[str]]]:
    """Starts the service as systemd does, and yields when the service says that it is ready."""
    with closing(Manager(directory.parent / "notify")) as manager:
        environment = os.environ | {"NOTIFY_SOCKET": str(manager.path)}
        pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "env": environment}
        with subprocess.Popen(identity(directory, "serve"), **pipes) as process:
            try:
                assert manager.notified() == {"READY": "1"}
                yield manager, process
            finally:
                process.kill()


def change(directory: Path, **members: Any) -> None:
    path = directory / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


def address(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    ready = json.loads(process.stderr.readline())
    assert ready["event"] == "identity.ready"
    return str(ready["address"])


def test_it_says_its_real_address_when_it_answers_and_builds_page_addresses_from_it(
    directory: Path, process: subprocess.Popen[str]
) -> None:
    url = address(process)
    health = requests.get(f"{url}/healthz", timeout=5)
    assert health.json() == {"status": "ok"}
    assert "Server" not in health.headers
    secret = json.loads(run(directory, "client", "add", "web", "--scope", "challenges", "--json"))["client_secret"]
    form = {"grant_type": "client_credentials", "client_id": "web", "client_secret": secret}
    token = requests.post(f"{url}/oauth2/token", data=form, timeout=5).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    opened = requests.post(f"{url}/api/v1/challenges", json={"user": "alice"}, headers=headers, timeout=5).json()
    assert opened["page_url"].startswith(f"{url}/challenge/")
    assert requests.get(opened["page_url"], timeout=5).status_code == 200
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert out == ""
    events = [json.loads(line) for line in err.splitlines()]
    assert [event["event"] for event in events] == ["token.issued", "challenge.created", "identity.stopped"]
    for hidden in (secret, token, opened["code"], opened["page_url"].rpartition("/")[2]):
        assert hidden not in err


def test_login_for_a_name_that_nobody_has_is_in_the_log(directory: Path, process: subprocess.Popen[str]) -> None:
    """Case user_name_forms: the running service tells the operator."""
    url = address(process)
    secret = json.loads(run(directory, "client", "add", "web", "--scope", "challenges", "--json"))["client_secret"]
    form = {"grant_type": "client_credentials", "client_id": "web", "client_secret": secret}
    token = requests.post(f"{url}/oauth2/token", data=form, timeout=5).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    requests.post(f"{url}/api/v1/challenges", json={"user": "Alice"}, headers=headers, timeout=5)
    assert process.stderr
    event = next(event for event in map(json.loads, process.stderr) if event["event"] == "user.unknown")
    assert (event["user"], event["client"], event["similar"]) == ("Alice", "web", "alice")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_promptly_and_answers_whoever_waits(
    directory: Path, process: subprocess.Popen[str], number: signal.Signals
) -> None:
    url = address(process)
    opened = json.loads(run(directory, "challenge", "open", "alice", "--json"))
    page = opened["page_url"].rpartition("/")[2]
    states: list[str] = []

    def wait() -> None:
        states.append(requests.get(f"{url}/challenge/{page}/state?wait=30", timeout=35).json()["state"])

    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    time.sleep(0.5)  # until they wait
    start = time.monotonic()
    process.send_signal(number)
    assert process.wait(10) == 0
    assert time.monotonic() - start < 8
    for thread in waiting:
        thread.join()
    assert states == ["pending"] * 3


def test_a_taken_port_is_one_line_and_status_69(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run(
            identity(directory, "serve", "--listen", where), check=False, capture_output=True, text=True, timeout=30
        )
    assert (ended.returncode, ended.stdout) == (69, "")
    assert ended.stderr == f"sshaft: cannot listen on {where}: Address already in use\n"


def test_a_request_that_is_no_http_neither_ends_it_nor_floods_the_log(process: subprocess.Popen[str]) -> None:
    url = address(process)
    host, _, port = url.removeprefix("http://").partition(":")
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            connection.recv(1024)
    assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
    process.terminate()
    _, err = process.communicate(timeout=10)
    events = [json.loads(line) for line in err.splitlines()]
    assert [event["event"] for event in events] == ["connections.closed", "identity.stopped"]
    assert events[0]["reason"] == "Invalid HTTP request"


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname(), timeout=5):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.parametrize("host", ["nosuchhost.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_an_error_of_one_line(host: str) -> None:
    with pytest.raises(ListenError, match=f"cannot listen on {host}:0: [A-Z]") as caught:
        listen(host, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["line", "header", "headers", "trailers"])
def test_headers_that_never_end_are_refused(process: subprocess.Popen[str], kind: str) -> None:
    host, _, port = address(process).removeprefix("http://").partition(":")
    start, more = {
        "line": (b"GET /", b"a" * 4096),
        "header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ", b"a" * 4096),
        "headers": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"X-Many: abc\r\n" * 315),
        "trailers": (
            b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X-Many: abc\r\n" * 315,
        ),
    }[kind]
    sent = 0
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(start)
            while sent < 64 * 1024 * 1024:
                connection.sendall(more)
                sent += len(more)
        except OSError:  # closed by the service
            pass
    assert sent < 64 * 1024 * 1024
    assert requests.get(f"http://{host}:{port}/healthz", timeout=5).status_code == 200


def reload(manager: Manager, process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """Returns the event of the reload and the status for `systemctl status`."""
    process.send_signal(signal.SIGHUP)
    assert manager.notified()["RELOADING"] == "1"
    told = manager.notified()
    assert told["READY"] == "1"
    assert process.stderr
    events = map(json.loads, process.stderr)
    return next(event for event in events if event["event"].startswith("config.")), told["STATUS"]


def open_page(url: str, directory: Path, client: str) -> dict[str, Any]:
    secret = json.loads(run(directory, "client", "add", client, "--scope", "challenges", "--json"))["client_secret"]
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
    token = requests.post(f"{url}/oauth2/token", data=form, timeout=5).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.post(f"{url}/api/v1/challenges", json={"user": "alice"}, headers=headers, timeout=5)
    assert answer.status_code == 201, answer.text
    opened: dict[str, Any] = answer.json()
    return opened


def test_sighup_puts_a_changed_identity_json_into_force(directory: Path) -> None:
    """Finding N9: SIGHUP ended the service."""
    with managed(directory) as (manager, process):
        url = address(process)
        assert open_page(url, directory, "one")["ssh_command"].startswith("ssh mfa@localhost")
        change(directory, ssh_host="new.example.org", lifetime=120)
        event, status = reload(manager, process)
        assert (event["event"], event["needs_restart"], status) == ("config.reloaded", [], "")
        opened = open_page(url, directory, "two")
        assert opened["ssh_command"].startswith("ssh mfa@new.example.org")
        assert datetime.fromisoformat(opened["expires_at"]) <= datetime.now(UTC) + timedelta(seconds=120)
        assert opened["page_url"].startswith(f"{url}/challenge/")


def test_reload_names_the_changes_that_need_a_restart(directory: Path) -> None:
    """Finding N9."""
    with managed(directory) as (manager, process):
        url = address(process)
        change(directory, port=1, database="sqlite:////nowhere")
        event, _ = reload(manager, process)
        assert event["needs_restart"] == ["database", "port"]
        assert requests.get(f"{url}/readyz", timeout=5).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    ["{", '{"lifetime": 5}', '{"key_policy": {"attestation_roots": "no-such-file"}}',
     '{"appearance": {"name": "x", "logo": "no-such-file"}}', '{"appearance": {"colour": "#ffff00"}}'],
)  # fmt: skip
def test_refused_reload_is_seen_in_the_log_and_by_systemctl_and_changes_nothing(directory: Path, wrong: str) -> None:
    """Findings N9 and N13."""
    with managed(directory) as (manager, process):
        url = address(process)
        right = (directory / "identity.json").read_text()
        (directory / "identity.json").write_text(wrong)
        event, status = reload(manager, process)
        assert (event["event"], event["level"], event["in_use"]) == ("config.refused", "error", "the old configuration")
        assert status == f"A new configuration was refused, and the old one is in use: {event['message']}"
        assert str(directory) in event["message"]
        (directory / "identity.json").write_text(right)
        assert open_page(url, directory, "one")["ssh_command"].startswith("ssh mfa@localhost")
        assert reload(manager, process)[1] == ""


def test_wrong_identity_json_ends_the_start_with_status_78(directory: Path) -> None:
    """Finding N8: systemd must be able to tell this from a failure that another start may mend."""
    change(directory, limits={"user": 0})
    ended = subprocess.run(identity(directory, "serve"), check=False, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (78, "", 1)
    assert ended.stderr.startswith(f"sshaft: {directory}/identity.json: ")


@pytest.mark.parametrize(
    ("members", "status"),
    [({}, 0), ({"lifetime": 5}, 78), ({"metrics_token_file": "/no/such/file"}, 78), ({"key_policy": {"types": 1}}, 78)],
)
def test_check_says_whether_a_start_or_a_reload_would_take_the_file(
    directory: Path, members: dict[str, Any], status: int
) -> None:
    """Finding N13: `systemctl reload` runs this first, and fails for a wrong file."""
    change(directory, **members)
    ended = subprocess.run(identity(directory, "check"), check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == status
    assert (ended.stdout == f"{directory}/identity.json is right.\n") is (status == 0)
    assert ended.stderr.count("\n") == (1 if status else 0)
