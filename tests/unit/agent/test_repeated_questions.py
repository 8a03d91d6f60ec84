"""Tests a socket on whose connections one question may follow another."""

import asyncio
from pathlib import Path

from sshaft import messages
from sshaft_agent import sockets
from sshaft_agent.server import Endpoint, Message, Server, one_answer


async def echo(fields: dict[str, str]) -> Message:
    return "echo", fields


def server_at(path: Path, *, is_repeated: bool) -> Server:
    return Server([Endpoint(path, sockets.account(None), one_answer({"echo": echo}), is_repeated=is_repeated)])


async def answers(path: Path, *numbers: str) -> list[str]:
    """Returns the answers to these questions on one connection. Empty: the agent has closed it."""
    reader, writer = await asyncio.open_unix_connection(path)
    found = []
    for number in numbers:
        writer.write(messages.encode("echo", {"number": number}))
        try:
            answer = await reader.readuntil(messages.END)
        except (asyncio.IncompleteReadError, ConnectionError):
            answer = b""
        found.append(messages.decode(answer)[1]["number"] if answer else "")
    writer.close()
    return found


def test_peer_asks_one_question_after_another(tmp_path: Path) -> None:
    async def run() -> list[str]:
        server = server_at(tmp_path / "a" / "agent.sock", is_repeated=True)
        await server.start()
        found = await answers(tmp_path / "a" / "agent.sock", "1", "2", "3")
        await server.stop()
        return found

    assert asyncio.run(run()) == ["1", "2", "3"]


def test_other_sockets_answer_one_question_of_a_connection(tmp_path: Path) -> None:
    async def run() -> list[str]:
        server = server_at(tmp_path / "a" / "agent.sock", is_repeated=False)
        await server.start()
        found = await answers(tmp_path / "a" / "agent.sock", "1", "2")
        await server.stop()
        return found

    assert asyncio.run(run()) == ["1", ""]


def test_agent_that_stops_ends_an_idle_connection(tmp_path: Path) -> None:
    async def run() -> tuple[bytes, set[object]]:
        server = server_at(tmp_path / "a" / "agent.sock", is_repeated=True)
        await server.start()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "a" / "agent.sock")
        writer.write(messages.encode("echo", {}))
        await reader.readuntil(messages.END)
        await server.stop()
        rest = await reader.read()
        writer.close()
        return rest, {*server.connections}

    assert asyncio.run(run()) == (b"", set())
