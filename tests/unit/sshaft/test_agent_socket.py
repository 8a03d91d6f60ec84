"""Tests one question over a real UNIX socket, also to agents that are broken."""

import signal
import socket
import struct
import time
from pathlib import Path

import pytest
from fakes.unix_server import UnixServer, drip, read_question

from sshaft import agent_socket, messages
from sshaft.agent_socket import AgentUnavailableError

RESULT = messages.encode("result", {"state": "accepted"})


def ask(path: object, value: str = "x") -> tuple[str, dict[str, str]]:
    return agent_socket.ask(str(path), "keys", {"key": value})


def test_agent_answers_a_question(tmp_path: Path) -> None:
    with UnixServer(tmp_path / "s", RESULT) as agent:
        assert ask(agent.path, 'a b\n"%') == ("result", {"state": "accepted"})
        assert agent.asked == [("keys", {"key": 'a b\n"%'})]


def test_answer_in_many_parts_is_put_together(tmp_path: Path) -> None:
    with UnixServer(tmp_path / "s", drip(RESULT, 0.002)) as agent:
        assert ask(agent.path) == ("result", {"state": "accepted"})


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n\n",
        RESULT[:-1],
        RESULT[:-2],
        RESULT[:10],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x00\xff" * 100,
        b"sshaft/1 result\nstate accepted\nstate refused\n\n",
        b"sshaft/1 result\n" + b"a" * 70_000 + b"\n\n",
        b"a" * 200_000,
    ],
    ids=lambda answer: repr(answer[:20]) + str(len(answer)),
)
def test_answer_that_is_no_whole_message_is_an_error(tmp_path: Path, answer: bytes) -> None:
    with UnixServer(tmp_path / "s", answer) as agent, pytest.raises(AgentUnavailableError) as error:
        ask(agent.path)
    assert str(error.value).isprintable()
    assert agent.path in str(error.value)


def test_agent_that_closes_before_it_reads_is_an_error(tmp_path: Path) -> None:
    with UnixServer(tmp_path / "s", socket.socket.close) as agent, pytest.raises(AgentUnavailableError):
        ask(agent.path, "x" * 60_000)


def test_agent_that_resets_the_connection_is_an_error(tmp_path: Path) -> None:
    def reset(connection: socket.socket) -> None:
        read_question(connection)
        connection.sendall(RESULT[:-1])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with UnixServer(tmp_path / "s", reset) as agent, pytest.raises(AgentUnavailableError):
        ask(agent.path)


def test_endless_answer_is_an_error(tmp_path: Path) -> None:
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        while True:
            sent += connection.send(b"a" * 4096)

    with UnixServer(tmp_path / "s", endless) as agent, pytest.raises(AgentUnavailableError, match="too long"):
        ask(agent.path)
    assert sent < 2_000_000


def test_absent_agent_is_an_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(AgentUnavailableError, match="sshaft agent"):
        ask(tmp_path / "nothing")


def test_stale_socket_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))
    with pytest.raises(AgentUnavailableError, match="refused"):
        ask(tmp_path / "s")


@pytest.mark.parametrize("path", ["", "/nowhere/" + "x" * 200, "/etc/passwd", "/", "relative/none"])
def test_path_that_cannot_be_a_socket_is_an_error(path: str) -> None:
    with pytest.raises(AgentUnavailableError):
        ask(path)


class _Alarm(Exception):  # noqa: N818 - no error
    pass


def test_alarm_of_the_caller_ends_the_wait(tmp_path: Path) -> None:
    def ring(*_: object) -> None:
        raise _Alarm

    before = signal.signal(signal.SIGALRM, ring)
    began = time.monotonic()
    try:
        with UnixServer(tmp_path / "s", lambda _: time.sleep(5)) as agent:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(_Alarm):
                ask(agent.path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 8
