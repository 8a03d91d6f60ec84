"""Serves a table of UNIX sockets: which accounts may ask where, and which handler talks to them."""

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from sshaft import log, messages
from sshaft.daemon.unix_socket import BACKLOG, peer_uid
from sshaft_agent import sockets
from sshaft_agent.sockets import Account

_MAX_CONNECTIONS = 2000
_MAX_OPERATORS = 20
_SECONDS_BETWEEN_REFUSALS = 1.0
_MESSAGE_SECONDS = 3.0
_DRAIN_SECONDS = 15.0

Message = tuple[str, dict[str, str]]
"""The kind and the fields."""
Answer = Callable[[dict[str, str]], Awaitable[Message]]
"""Answers a question that has these fields."""
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one connection. Raises `MessageError` for a message that does not belong there."""


@dataclass(frozen=True)
class Endpoint:
    """One row of the table. Only `user` may ask there, and the agent's own account where `user` is root.

    Without a `user` the mode of the socket decides: root and the agent's group may ask.
    """

    path: Path
    user: Account | None
    handler: Handler
    is_repeated: bool = False
    """Whether `user` may ask one question after another on a connection."""

    def allows(self, uid: int) -> bool:
        """Whether the account of this uid may ask here."""
        own = self.user == sockets.ROOT and uid == os.geteuid()
        return self.user is None or uid == self.user.uid or own

    @property
    def most_connections(self) -> int:
        return _MAX_CONNECTIONS if self.user else _MAX_OPERATORS


def one_answer(answers: Mapping[str, Answer], for_owner: Collection[str] = ()) -> Handler:
    """Returns a handler for connections with one question. `answers` has a function for each kind of question.

    Only root and the agent's account may ask the kinds in `for_owner`.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_MESSAGE_SECONDS):
            data = await reader.readuntil(messages.END)
        kind, fields = messages.decode(data)
        if kind not in answers:
            raise messages.MessageError(f"{kind} is not asked here")
        if kind in for_owner and peer_uid(writer.get_extra_info("socket")) not in (0, os.geteuid()):
            await _write(writer, ("error", {"reason": "only root may do this"}))
            return
        try:
            answer = await answers[kind](fields)
        except Exception:  # noqa: BLE001 - one broken question must not end the agent
            log.get_logger().exception("agent.fault")
            answer = "error", {"reason": "internal"}
        await _write(writer, answer)

    return handle


class Server:
    """Serves the endpoints. `refused` counts the refused connections by reason; the log has one a second at most."""

    def __init__(self, endpoints: Sequence[Endpoint], clock: Callable[[], float] = time.monotonic) -> None:
        self.refused: Counter[str] = Counter()
        self._clock = clock
        self._next_log = 0.0
        self._unlogged = 0
        self._open: Counter[Path] = Counter()
        self._endpoints = endpoints
        self._servers: list[asyncio.Server] = []
        self._listening: list[socket.socket] = []
        self._inodes: list[int] = []
        self.connections: set[asyncio.Task[None]] = set()
        self._repeated: set[asyncio.StreamReader] = set()

    def open_beside(self) -> None:
        """Opens all sockets beside those of another agent, or opens none and raises `ConfigurationError`.

        `start` then puts them into the place of the others. No client finds a path without a socket.
        """
        self._open_at([_beside(endpoint.path) for endpoint in self._endpoints])

    def close_beside(self) -> None:
        """Closes what `open_beside` has opened: the other agent goes on."""
        for endpoint, each in zip(self._endpoints, self._listening, strict=True):
            each.close()
            _beside(endpoint.path).unlink(missing_ok=True)

    def _open_at(self, paths: Sequence[Path]) -> None:
        listening = []
        with ExitStack() as undo:
            for endpoint, path in zip(self._endpoints, paths, strict=True):
                listening.append(sockets.listen_for(endpoint.user, path))
                undo.callback(path.unlink, missing_ok=True)
                undo.callback(listening[-1].close)
            undo.pop_all()
        self._inodes = [path.stat().st_ino for path in paths]
        self._listening = listening

    async def start(self) -> None:
        """Opens all sockets and serves them, or opens none and raises `ConfigurationError`."""
        if self._listening:
            for endpoint in self._endpoints:
                _beside(endpoint.path).rename(endpoint.path)
        else:
            self._open_at([endpoint.path for endpoint in self._endpoints])
        for endpoint, each in zip(self._endpoints, self._listening, strict=True):
            self._servers.append(await self._serve(endpoint, each))

    async def stop(self) -> None:
        """Closes the sockets and waits until the open connections have ended."""
        for server, endpoint, inode in zip(self._servers, self._endpoints, self._inodes, strict=True):
            server.close()
            with suppress(FileNotFoundError):
                if endpoint.path.stat().st_ino == inode:  # it may be that of a successor
                    endpoint.path.unlink()  # at once, because another agent may start here
        self.end_repeated()
        if self.connections:
            await asyncio.wait(self.connections, timeout=_DRAIN_SECONDS)

    def end_repeated(self) -> None:
        """Ends the connections on which one question follows another. The question that is answered now is the last."""
        for reader in self._repeated:
            reader.feed_eof()

    async def _serve(self, endpoint: Endpoint, listening: socket.socket) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - asyncio runs this as a task
            self.connections.add(task)
            self._open[endpoint.path] += 1
            try:
                if endpoint.is_repeated:
                    self._repeated.add(reader)
                await self._handle(endpoint, reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                pass  # the other side went away, or sent no whole message in time
            finally:
                self.connections.discard(task)
                self._repeated.discard(reader)
                self._open[endpoint.path] -= 1
                writer.close()

        # asyncio calls listen() again, by default with a queue of 100.
        return await asyncio.start_unix_server(connected, sock=listening, limit=messages.MAX_MESSAGE, backlog=BACKLOG)

    async def _handle(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_uid(writer.get_extra_info("socket"))
        if not endpoint.allows(peer):
            self.refused["peer"] += 1
            self._log_refusal("peer.refused", uid=peer)
            return
        if self._open[endpoint.path] > endpoint.most_connections:
            await self._refuse(writer, "busy")
            return
        try:
            await endpoint.handler(reader, writer)
            while endpoint.is_repeated:
                await endpoint.handler(reader, writer)
        except messages.MessageError as error:
            self._log_refusal("message.refused", message=str(error))
            await self._refuse(writer, "bad_message")

    def _log_refusal(self, event: str, **facts: str | int) -> None:
        """Logs a refusal, if the last one was a second ago. `before` counts those that were not logged."""
        now = self._clock()
        if now < self._next_log:
            self._unlogged += 1
            return
        before = {"before": self._unlogged} if self._unlogged else {}
        log.get_logger().warning(event, **facts, **before)
        self._next_log, self._unlogged = now + _SECONDS_BETWEEN_REFUSALS, 0

    async def _refuse(self, writer: asyncio.StreamWriter, reason: str) -> None:
        self.refused[reason] += 1
        await _write(writer, ("error", {"reason": reason}))


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}")


async def _write(writer: asyncio.StreamWriter, message: Message) -> None:
    writer.write(messages.encode(*message))
    async with asyncio.timeout(_MESSAGE_SECONDS):
        await writer.drain()
