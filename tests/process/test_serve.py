"""`sshaft identity serve` as a process of its own."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sshaft_identity.common.errors import ListenError
from sshaft_identity.service.server import listen


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
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        connection.recv(1024)
    assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
    process.terminate()
    _, err = process.communicate(timeout=10)
    assert len(err.splitlines()) <= 2
    assert all(json.loads(line)["event"] in ("library.warning", "identity.stopped") for line in err.splitlines())


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
