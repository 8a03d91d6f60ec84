"""Tests the connections to the agent that are used again: no answer ever reaches another question."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.unix_server import UnixServer, read_question

from sshaft import messages
from sshaft.errors import ReachError
from sshaft_host_api.agent import Agent
from sshaft_host_api.answers import Account

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Returns a function that asks an agent, whose connections are handled in turn. The last handler is repeated."""

    def run(
        questions: Callable[[Agent], Awaitable[Any]], *handlers: Callable[[socket.socket], None], seconds: float = 10
    ) -> Any:
        async def asked() -> Any:
            agent = Agent(tmp_path / "agent.sock", seconds=seconds)
            try:
                return await questions(agent)
            finally:
                agent.close()

        with UnixServer(tmp_path / "agent.sock", *handlers):
            return asyncio.run(asked())

    return run


async def ask(agent: Agent, token: str) -> str:
    return (await agent.ask(Account, "api_user", {"token": token}, "192.0.2.7")).name


async def ask_three(agent: Agent) -> list[str]:
    return [await ask(agent, token) for token in ("a", "b", "c")]


def reply(connection: socket.socket) -> bytes:
    """Reads a question, and returns an answer whose name is the token of the question."""
    _, fields = read_question(connection)
    return messages.encode("user", {"state": "deployed", "name": fields["token"], "change": "{}"})


def answer_one(connection: socket.socket) -> None:
    connection.sendall(reply(connection))


def answer_all(connection: socket.socket) -> None:
    while True:
        connection.sendall(reply(connection))


def test_questions_in_turn_use_one_connection(run: Run) -> None:
    connections: list[socket.socket] = []

    def handle(connection: socket.socket) -> None:
        connections.append(connection)
        answer_all(connection)

    assert run(ask_three, handle) == ["a", "b", "c"]
    assert len(connections) == 1


def test_connection_that_the_agent_has_closed_is_replaced(run: Run) -> None:
    """An agent ends, and another one starts."""
    assert run(ask_three, answer_one) == ["a", "b", "c"]


def test_many_questions_at_once_get_their_own_answers(run: Run) -> None:
    async def ask_many(agent: Agent) -> list[str]:
        return await asyncio.gather(*(ask(agent, f"p{each}") for each in range(100)))

    assert run(ask_many, answer_all) == [f"p{each}" for each in range(100)]


def test_answer_to_a_client_that_went_away_reaches_nobody(run: Run) -> None:
    came, go_on = threading.Event(), threading.Event()

    def late(connection: socket.socket) -> None:
        answer = reply(connection)
        came.set()
        go_on.wait(10)
        connection.sendall(answer)
        answer_all(connection)

    async def ask_two(agent: Agent) -> str:
        first = asyncio.create_task(ask(agent, "alice"))
        await asyncio.to_thread(came.wait, 10)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        go_on.set()
        return await ask(agent, "mallory")

    assert run(ask_two, late, answer_all) == "mallory"


def test_answer_after_the_time_is_over_reaches_nobody(run: Run) -> None:
    go_on = threading.Event()

    def late(connection: socket.socket) -> None:
        answer = reply(connection)
        go_on.wait(10)
        connection.sendall(answer)
        answer_all(connection)

    async def ask_two(agent: Agent) -> str:
        with pytest.raises(ReachError, match="gave no answer"):
            await ask(agent, "alice")
        go_on.set()
        return await ask(agent, "mallory")

    assert run(ask_two, late, answer_all, seconds=0.1) == "mallory"


def test_second_answer_to_one_question_reaches_nobody(run: Run) -> None:
    def twice(connection: socket.socket) -> None:
        connection.sendall(reply(connection) * 2)
        answer_all(connection)

    async def ask_two(agent: Agent) -> str:
        with pytest.raises(ReachError, match="broke off"):
            await ask(agent, "alice")
        return await ask(agent, "mallory")

    assert run(ask_two, twice, answer_all) == "mallory"


def test_answer_without_a_question_ends_the_connection(run: Run) -> None:
    go_on, said = threading.Event(), threading.Event()

    def talkative(connection: socket.socket) -> None:
        connection.sendall(reply(connection))
        go_on.wait(10)
        connection.sendall(messages.encode("user", {"state": "deployed", "name": "root", "change": "{}"}))
        said.set()
        answer_all(connection)

    async def ask_two(agent: Agent) -> list[str]:
        first = await ask(agent, "alice")
        go_on.set()
        await asyncio.to_thread(said.wait, 10)
        await asyncio.sleep(0.01)  # the event loop reads it
        return [first, await ask(agent, "mallory")]

    assert run(ask_two, talkative, answer_all) == ["alice", "mallory"]
