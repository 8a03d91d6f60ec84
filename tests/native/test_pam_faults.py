"""Tests pam_sshaft with an agent that breaks at each step, with signals, and with a clock that jumps."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from fakes.clock import FakeClock, library
from fakes.unix_server import UnixServer, read_question
from native.pam_stack import AUTH_ERR, PROMPT, SUCCESS, SYSTEM_ERR, UNAVAILABLE, Stack, result, saying

from sshaft import messages

Speak = Callable[[socket.socket], None]
WAIT = messages.encode("wait", {})
INFO = messages.encode("info", {"text": "Hello"})
HALF = result("success")[:-2]
TYPED = "typed by mistake: correct horse battery staple"
AS_INSTALLED = pytest.mark.parametrize("stack", ["built"], indirect=True)


def say(*parts: bytes) -> Speak:
    return lambda agent: agent.sendall(b"".join(parts))


def read(agent: socket.socket) -> None:
    read_question(agent)


def die(_: socket.socket) -> None:
    """The server closes the connection when the last step has returned."""


def hang(agent: socket.socket) -> None:
    """Says nothing more, and keeps the connection until the module ends it."""
    while agent.recv(65536):
        pass


STEPS: dict[str, list[Speak]] = {
    "before the question": [],
    "after the question": [read],
    "after wait": [read, say(WAIT)],
    "after information": [read, say(WAIT, INFO)],
    "inside a message": [read, say(HALF)],
    "at a prompt": [read, say(PROMPT)],
    "after the answer": [read, say(PROMPT), read],
    "after the second answer": [read, say(PROMPT), read, say(WAIT, INFO, PROMPT), read],
}
FAULTS: dict[str, Speak] = {
    "dies": die,
    "hangs": hang,
    "sends garbage": say(b"\0\xff%s%n\x1b[2J\n\n", result("success")),
    "sends no message": say(b"success\n\n", result("success")),
    "lies about the version": say(b"sshaft/2 result\nresult success\n\n", result("success")),
    "sends what the module sends": say(messages.encode("login", {"user": "alice"}), result("success")),
    "sends two results in one": say(b"sshaft/1 result\nresult denied\nresult success\n\n"),
    "denies and takes it back": say(result("denied"), result("success")),
    "never ends a message": say(b"sshaft/1 result\nresult success\n" + b"x" * 70_000),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_agent_that_breaks_at_any_step_lets_nobody_in(stack: Stack, steps: list[Speak], fault: Speak) -> None:
    def agent(connection: socket.socket) -> None:
        for step in [*steps, fault]:
            step(connection)

    stack.arguments = "timeout=1 debug"
    with UnixServer(stack.path, agent):
        status, _ = stack.run(TYPED, TYPED)
    assert status in (AUTH_ERR, SYSTEM_ERR, UNAVAILABLE)
    assert TYPED not in stack.log


@pytest.mark.parametrize("said", [WAIT, INFO], ids=["wait", "information"])
def test_agent_that_talks_without_end_is_left_at_the_deadline(stack: Stack, said: bytes) -> None:
    def flood(connection: socket.socket) -> None:
        read_question(connection)
        while True:
            connection.sendall(said)

    stack.arguments = "timeout=1"
    with UnixServer(stack.path, flood):
        assert stack.run()[0] == UNAVAILABLE


@pytest.mark.parametrize("waiting", [0, 2], ids=["frozen", "frozen with a full queue"])
def test_agent_that_accepts_no_connection_lets_nobody_in(stack: Stack, waiting: int) -> None:
    stack.arguments = "timeout=1"
    with socket.socket(socket.AF_UNIX) as frozen, ExitStack() as others:
        frozen.bind(str(stack.path))
        frozen.listen(1)
        for _ in range(waiting):
            others.enter_context(socket.socket(socket.AF_UNIX)).connect(str(stack.path))
        assert stack.run()[0] == UNAVAILABLE


def test_agent_that_does_not_read_is_left_when_the_socket_is_full(stack: Stack) -> None:
    def deaf(connection: socket.socket) -> None:
        connection.sendall(PROMPT * 20 + result("success"))
        threading.Event().wait()

    stack.arguments = "timeout=1"
    with UnixServer(stack.path, deaf):
        assert stack.run(*["x" * 60_000] * 20)[0] == UNAVAILABLE


def test_answer_that_fits_in_no_message_lets_nobody_in(stack: Stack) -> None:
    with UnixServer(stack.path, saying(PROMPT, result("success"))):
        assert stack.run("x" * 70_000)[0] == UNAVAILABLE


def test_signals_at_any_moment_change_nothing(stack: Stack) -> None:
    def slow(connection: socket.socket) -> None:
        read_question(connection)
        for byte in WAIT + INFO + PROMPT:
            connection.sendall(bytes([byte]))
            time.sleep(0.001)
        heard.append(read_question(connection))
        connection.sendall(result("success"))

    heard: list[tuple[str, dict[str, str]]] = []
    stack.options = ["-s"]
    with UnixServer(stack.path, slow):
        assert stack.run("x" * 50_000)[0] == SUCCESS
    assert heard == [("answer", {"text": "x" * 50_000})]


@AS_INSTALLED  # libfaketime and the sanitizers do not go together
def test_clock_that_is_set_back_does_not_move_the_deadline(stack: Stack) -> None:
    if library() is None:
        pytest.skip("needs libfaketime: ./dev setup test")
    clock = FakeClock(stack.folder / "clock")

    def agent(connection: socket.socket) -> None:
        read_question(connection)
        clock.put(-86400)
        while True:
            connection.sendall(WAIT)
            time.sleep(0.1)

    preloaded = f"{stack.environment['LD_PRELOAD']} {library()}"
    stack.environment = stack.environment | clock.environment | {"LD_PRELOAD": preloaded}
    stack.arguments = "timeout=1"
    with UnixServer(stack.path, agent):
        assert stack.run()[0] == UNAVAILABLE


@AS_INSTALLED
@pytest.mark.parametrize("last", [result("success"), result("denied", reason="no"), b"garbage\n\n", b""])
def test_what_is_typed_stays_neither_in_memory_nor_in_the_log(stack: Stack, last: bytes) -> None:
    stack.options, stack.arguments = ["-m"], "debug"
    with UnixServer(stack.path, saying(PROMPT, last)):
        _, shown = stack.run(TYPED, rounds=3)
    assert "answers in memory: 0\n" in shown
    assert "the agent says: prompt" in stack.log
    assert TYPED not in stack.log
