"""Attacks `sshaft identity serve` as a process of its own, and counts its memory and its descriptors meanwhile."""

import json
import re
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from process.test_serve import identity, run

REALISTIC = 500
"""Connections of a busy hour: pages that wait, and calls of the API. The attackers open ten times as many."""
MOST_MB = 300
"""docs/operating.md names this figure."""


@dataclass
class Attacked:
    pid: int
    url: str
    page: str
    log: Path

    def connect(self, sent: bytes = b"") -> socket.socket:
        host, _, port = self.url.removeprefix("http://").partition(":")
        connection = socket.create_connection((host, int(port)), timeout=30)
        connection.setblocking(False)
        with suppress(OSError):  # the service closes the connection, or reads no more
            connection.send(sent)
        return connection

    @property
    def memory_mb(self) -> float:
        """The largest memory that the process has had."""
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) / 1024

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def answers(self) -> bool:
        """Whether a new client gets its answer, which needs the database."""
        return requests.get(f"{self.url}/readyz", timeout=60).status_code == 200

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]

    def wait_for(self, event: str) -> None:
        end = time.monotonic() + 60
        while not self.events(event):
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def attacked(tmp_path: Path, many_descriptors: None) -> Iterator[Attacked]:
    del many_descriptors
    directory, log = tmp_path / "id", tmp_path / "log"
    run(directory, "init", "--listen", "127.0.0.1:0")
    run(directory, "user", "add", "alice")
    opened = json.loads(run(directory, "challenge", "open", "alice", "--json"))
    page = "/challenge/" + opened["page_url"].rpartition("/")[2]
    with log.open("w") as stderr, subprocess.Popen(identity(directory, "serve"), stderr=stderr) as process:
        try:
            while not log.read_text().endswith("\n"):
                assert process.poll() is None
                time.sleep(0.05)
            ready = json.loads(log.read_text().splitlines()[0])
            yield Attacked(process.pid, ready["address"], page, log)
        finally:
            process.kill()


def test_pipelined_requests_do_not_fill_the_memory(attacked: Attacked) -> None:
    """Finding S6: 40 connections with 10 MB of pipelined requests made the service hold 1.26 GB."""
    get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    stream = f"GET {attacked.page}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(attacked.connect(get * 10000))
            connection = stack.enter_context(attacked.connect(stream + get * 2000))
            with suppress(OSError):
                connection.send(get * 10000)
        assert attacked.answers
        assert attacked.memory_mb < MOST_MB
        assert attacked.descriptors < 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 60000,
        b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 12000,
        b"POST /sign-in/ssh HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n" + b"a" * 60000,
    ],
    ids=["idle", "long head", "many headers", "half a body"],
)
def test_ten_times_the_realistic_load_of_unfinished_requests_is_borne(attacked: Attacked, sent: bytes) -> None:
    """Finding S8: idle connections and half-sent requests took all descriptors."""
    with ExitStack() as stack:
        for _ in range(10 * REALISTIC):
            stack.enter_context(attacked.connect(sent))
        assert attacked.answers
        assert attacked.memory_mb < MOST_MB
        assert attacked.descriptors < 2 * 1024 + 200
        assert attacked.events("connections.closed")


def test_ten_times_the_realistic_load_of_event_streams_is_borne(attacked: Attacked) -> None:
    """Finding S8: one page address opened thousands of event streams."""
    with ExitStack() as stack:
        for _ in range(10 * REALISTIC):
            stack.enter_context(attacked.connect(f"GET {attacked.page}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
        assert attacked.answers
        assert attacked.memory_mb < MOST_MB
        assert attacked.descriptors < 2 * 1024 + 200
        assert requests.get(f"{attacked.url}{attacked.page}/state", timeout=30).json()["state"] == "pending"
        assert requests.get(f"{attacked.url}{attacked.page}/state?wait=1", timeout=30).status_code == 429


def test_service_with_few_descriptors_still_answers_and_says_that_they_are_few(attacked: Attacked) -> None:
    """Finding S8: no event told that descriptors had run out."""
    soft, hard = resource.prlimit(attacked.pid, resource.RLIMIT_NOFILE)
    assert soft == hard, "the service has raised its limit"
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(attacked.connect())
        assert attacked.answers
        resource.prlimit(attacked.pid, resource.RLIMIT_NOFILE, (attacked.descriptors + 2, hard))
        attacked.wait_for("descriptors.scarce")
    attacked.wait_for("descriptors.enough")
