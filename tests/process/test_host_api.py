"""Tests `sshaft host-api` as a process, in front of a fake agent."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from fakes.host_api import INFO, FakeAgent
from fakes.unix_server import UnixServer

Start = Callable[..., AbstractContextManager[tuple[str, "subprocess.Popen[str]"]]]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path / "agent.sock")
    fake.answers["api_info"] = ("info", {"json": json.dumps(INFO)})
    fake.answers["api_verify"] = ("verify", {"state": "deployed", "verified": "1"})
    with UnixServer(fake.path, fake.answer):
        yield fake


@pytest.fixture
def start(tmp_path: Path, agent: FakeAgent) -> Start:
    @contextmanager
    def started(**settings: object) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
        path = tmp_path / "host-api.json"
        path.write_text(json.dumps({"agent_socket": str(agent.path), **settings}))
        command = [sys.executable, "-m", "sshaft", "host-api", "--config", str(path)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        try:
            ready = process.stderr.readline()
            found = re.search(r'"address": "([^"]+)"', ready)
            assert found, ready
            yield found[1], process
        finally:
            process.kill()
            process.wait()
            process.stderr.close()

    return started


def test_client_asks_over_tcp_and_sigterm_ends_the_program_with_status_0(start: Start, agent: FakeAgent) -> None:
    with start(port=0) as (url, process):
        answer = requests.get(
            f"{url}/verify_user?username=alice", headers={"Authorization": "Bearer a.b.c"}, timeout=10
        )
        assert answer.text == '{"state":"deployed","verified":true}'
        assert agent.asked == [("api_verify", {"user": "alice", "token": "a.b.c", "client_ip": "127.0.0.1"})]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_proxy_asks_over_a_unix_socket_of_its_group(start: Start, agent: FakeAgent, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with start(socket=str(path)) as (address, _), socket.socket(socket.AF_UNIX) as connection:
        assert address == str(path)
        assert path.stat().st_mode & 0o777 == 0o660
        connection.connect(address)
        connection.sendall(
            b"GET /verify_user?username=alice HTTP/1.0\r\n"
            b"X-Forwarded-For: 192.0.2.1, 198.51.100.7\r\nAuthorization: Bearer a.b.c\r\n\r\n"
        )
        assert b'{"state":"deployed","verified":true}' in connection.makefile("rb").read()
    assert agent.asked[0][1]["client_ip"] == "198.51.100.7"


def test_a_new_process_takes_over_a_socket_whose_path_has_a_blank(start: Start, tmp_path: Path) -> None:
    """The name of a socket is any text. A blank in it ended the new process, so an upgrade kept the old one."""
    path = tmp_path / "with a blank.sock"
    with start(socket=str(path)) as (address, process):
        assert process.stderr
        process.send_signal(signal.SIGUSR2)
        events = (json.loads(line) for line in process.stderr)
        event = next(each for each in events if each["event"].startswith("successor."))
        assert event["event"] == "successor.serves"
        try:
            assert process.wait(20) == 0
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(address)
                connection.sendall(b"GET /info HTTP/1.0\r\n\r\n")
                assert b" 200 " in connection.makefile("rb").readline()
        finally:
            os.kill(event["pid"], signal.SIGTERM)


HIDDEN = "GET /verify_user?username=root HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer d.e.f\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (f"Content-Length: {len(HIDDEN)}\r\n", HIDDEN),
        ("Transfer-Encoding: chunked\r\n", f"{len(HIDDEN):x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
        (f"Content-Length: 0\r\nContent-Length: {len(HIDDEN)}\r\n", HIDDEN),
        (f"Content-Length: {len(HIDDEN)}, 0\r\n", HIDDEN),
        (f"Content-Length: {len(HIDDEN) + 5}\r\nTransfer-Encoding: chunked\r\n", f"0\r\n\r\n{HIDDEN}"),
        ("Transfer-Encoding: chunked, identity\r\n", f"0\r\n\r\n{HIDDEN}"),
        ("Transfer-Encoding: xchunked\r\n", f"0\r\n\r\n{HIDDEN}"),
        ("Transfer-Encoding : chunked\r\n", f"0\r\n\r\n{HIDDEN}"),
        (f"Content-Length: +{len(HIDDEN)}\r\n", HIDDEN),
        ("X: a\x00b\r\n", HIDDEN),
    ],
)
def test_request_in_the_body_of_another_one_asks_nothing(
    start: Start, agent: FakeAgent, headers: str, body: str
) -> None:
    """A proxy that reads the lengths in another way would hand on a request of somebody else."""
    with start(port=0) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            first = (
                f"GET /verify_user?username=alice HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\n{headers}\r\n"
            )
            connection.sendall((first + body).encode())
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answers:
                answers.read()
    assert [fields["user"] for _, fields in agent.asked] in ([], ["alice"])


def test_renewed_certificate_is_used_after_a_reload(start: Start, tmp_path: Path) -> None:
    authority = trustme.CA()
    chain, key, roots = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(roots)

    def renew(name: str) -> None:
        certificate = authority.issue_cert("localhost", common_name=name)
        chain.write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(key)

    def shown(url: str) -> str:
        host, port = url.removeprefix("https://").split(":")
        context = ssl.create_default_context(cafile=roots)
        with (
            socket.create_connection((host, int(port))) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            subject: Any = secure.getpeercert()
            return str(dict(pair for each in subject["subject"] for pair in each)["commonName"])

    renew("first")
    with start(port=0, certificate_file=str(chain), private_key_file=str(key)) as (url, process):
        assert url.startswith("https://")
        assert shown(url) == "first"
        renew("second")
        process.send_signal(signal.SIGHUP)
        assert process.stderr
        assert '"certificate.reloaded"' in process.stderr.readline()
        assert shown(url) == "second"
        key.write_text("damaged")
        process.send_signal(signal.SIGHUP)
        assert '"certificate.refused"' in process.stderr.readline()
        assert shown(url) == "second"


def test_program_does_not_start_with_a_wrong_certificate(tmp_path: Path) -> None:
    path = tmp_path / "host-api.json"
    path.write_text(json.dumps({"certificate_file": "/nonexistent/a", "private_key_file": "/nonexistent/b"}))
    for words in ([], ["check"]):
        command = [sys.executable, "-m", "sshaft", "host-api", *words, "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 78
        assert done.stderr == (
            "sshaft: /nonexistent/a and /nonexistent/b cannot be used for TLS: No such file or directory\n"
        )


def test_second_program_does_not_take_the_socket_of_the_first(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with start(socket=str(path)) as (_, process):
        command = [sys.executable, "-m", "sshaft", "host-api", "--config", str(tmp_path / "host-api.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 69
        assert done.stderr == f"sshaft: cannot listen on {path}: another program listens there\n"
        assert path.exists()
        process.kill()
        process.wait()
    with start(socket=str(path)) as (address, _):  # the first one was killed, and has left its socket
        assert address == str(path)
