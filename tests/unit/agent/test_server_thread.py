"""Tests a server on an event loop of its own: its slow questions delay nobody else."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from sshaft import messages
from sshaft.errors import ConfigurationError
from sshaft_agent import sockets
from sshaft_agent.server import Answer, Endpoint, Message, Server, one_answer
from sshaft_agent.server_thread import ServerThread


def server_at(path: Path, answer: Answer) -> Server:
    return Server([Endpoint(path, sockets.account(None), one_answer({"ask": answer}))])


def ask(path: Path) -> Message:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(messages.encode("ask", {}))
        return messages.decode(connection.makefile("rb").read())


async def at_once(_fields: dict[str, str]) -> Message:
    return "answer", {"thread": threading.current_thread().name}


def test_question_that_blocks_its_loop_delays_no_other_socket(tmp_path: Path) -> None:
    may_end = threading.Event()

    async def slowly(_fields: dict[str, str]) -> Message:
        may_end.wait(20)
        return await at_once({})

    async def run() -> tuple[Message, bool, Message]:
        other, slow = tmp_path / "other" / "agent.sock", tmp_path / "slow" / "agent.sock"
        server, thread = server_at(other, at_once), ServerThread(server_at(slow, slowly), "slow")
        await server.start()
        await thread.start()
        waiting = asyncio.create_task(asyncio.to_thread(ask, slow))
        meanwhile = await asyncio.to_thread(ask, other)
        has_waited = not waiting.done()
        may_end.set()
        found = await waiting
        await server.stop()
        await thread.stop()
        assert not slow.exists()
        return meanwhile, has_waited, found

    meanwhile, has_waited, found = asyncio.run(run())
    assert (meanwhile[1]["thread"], has_waited, found[1]["thread"]) == ("MainThread", True, "slow")


def test_socket_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = threading.active_count()
    with pytest.raises(ConfigurationError, match="file"):
        asyncio.run(ServerThread(server_at(tmp_path / "file" / "agent.sock", at_once), "none").start())
    assert threading.active_count() == before
