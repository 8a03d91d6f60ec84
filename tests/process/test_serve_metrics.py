"""The metrics of `sshaft identity serve` as a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import requests
from process.test_serve import identity
from unit.identity.service.test_metrics import values


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    command = identity(tmp_path / "id", "init", "--listen", "127.0.0.1:0")
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return tmp_path / "id"


@pytest.fixture
def served(directory: Path) -> Iterator[tuple[str, str]]:
    """The addresses of the metrics and of the service."""
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(identity(directory, "serve", "--metrics-listen", "127.0.0.1:0"), **pipes) as process:
        assert process.stderr
        events = [json.loads(process.stderr.readline()) for _ in range(2)]
        assert [event["event"] for event in events] == ["metrics.ready", "identity.ready"]
        yield events[0]["address"], events[1]["address"]
        process.terminate()
        assert process.wait(20) == 0


def test_a_port_of_its_own_answers_metrics_and_nothing_else(served: tuple[str, str]) -> None:
    where, service = served
    assert requests.get(f"{service}/healthz", timeout=10).status_code == 200
    end = time.monotonic() + 20
    while True:  # the event of `init` is sealed in the background
        answer = requests.get(where, timeout=10)
        found = values(answer.text)
        if ("sshaft_identity_events_total", "event=signing_key.added") in found:
            break
        assert time.monotonic() < end
        time.sleep(0.1)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert any(name == "sshaft_identity_build_info" for name, _ in found)
    assert found["sshaft_identity_http_requests_total", "method=GET,route=/healthz,status=2xx"] == 1
    assert requests.get(where.removesuffix("/metrics") + "/healthz", timeout=10).status_code == 404
    assert requests.get(f"{service}/metrics", timeout=10).status_code == 404
    assert requests.post(where, timeout=10).status_code == 501


def test_a_new_process_takes_over_the_port_of_the_service_and_that_of_the_metrics(directory: Path) -> None:
    """Both ask for any free port, so their configured addresses are the same."""
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(identity(directory, "serve", "--metrics-listen", "127.0.0.1:0"), **pipes) as process:
        assert process.stderr
        addresses = {event["event"]: event.get("address") for event in map(json.loads, islice(process.stderr, 2))}
        process.send_signal(signal.SIGUSR2)
        after: dict[str, dict[str, Any]] = {}
        while not {"successor.serves", "successor.failed"} & after.keys():
            event = json.loads(process.stderr.readline())
            after[event["event"]] = event
        successor = after["successor.serves"]["pid"]
        try:
            assert {name: after[name]["address"] for name in addresses} == addresses
            assert process.wait(20) == 0
            assert requests.get(f"{addresses['identity.ready']}/healthz", timeout=10).status_code == 200
            assert "sshaft_identity" in requests.get(str(addresses["metrics.ready"]), timeout=10).text
        finally:
            os.kill(successor, signal.SIGTERM)
            process.stderr.read()  # until the successor has ended


def refused(directory: Path, *arguments: str) -> tuple[int, str]:
    ended = subprocess.run(
        identity(directory, "serve", *arguments), check=False, capture_output=True, text=True, timeout=60
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("token", "reason"), [(None, "cannot be read"), ("short", "one token of 16"), ("a b" * 10, "one token of 16")]
)
def test_a_token_file_that_protects_nothing_is_refused(directory: Path, token: str | None, reason: str) -> None:
    file = directory / "token"
    if token is not None:
        file.write_text(token)
    settings = json.loads((directory / "identity.json").read_text()) | {"metrics_token_file": str(file)}
    (directory / "identity.json").write_text(json.dumps(settings))
    status, said = refused(directory)
    assert status == 78
    assert re.fullmatch(rf"sshaft: {re.escape(str(file))} .*{reason}.*\n", said)


def test_without_the_library_there_is_one_line_that_says_what_to_install(directory: Path) -> None:
    program = "import sys; sys.modules['prometheus_client'] = None; from sshaft.__main__ import main; sys.exit(main())"
    command = identity(directory, "serve", "--metrics-listen", "127.0.0.1:0")
    ended = subprocess.run(
        [sys.executable, "-c", program, *command[3:]], check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 78
    assert ended.stderr == "sshaft: metrics need prometheus-client: pip install 'sshaft[metrics]'\n"
