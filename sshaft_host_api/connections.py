"""Keeps connections to the agent, and asks one question at a time on each.

An answer must never reach another question: a connection is used again only after exactly one whole answer.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from sshaft import messages

_KEEP_SECONDS = 2.0
"""The agent closes a connection that is idle for three seconds."""
_MOST_KEPT = 64


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.is_usable = True
        self._data = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._answer is None or self._answer.done() or len(self._data) > messages.MAX_MESSAGE:
            self.abort()  # nobody has asked for it, or it is too long
        elif self._data.endswith(messages.END):
            self._answer.set_result(self._data)

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._data)

    async def ask(self, question: bytes) -> bytes:
        """Returns the answer, or what came of it before the end of the connection."""
        self._data = b""
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(question)
            return await self._answer
        except asyncio.CancelledError:
            self.abort()  # the answer comes too late
            raise
        finally:
            self._answer = None

    def abort(self) -> None:
        self.is_usable = False
        self._transport.abort()


class Connections:
    """Those to the agent at `path`. `clock` is in seconds."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._idle: list[tuple[float, Connection]] = []

    async def ask(self, kind: str, fields: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Returns the kind and the fields of the answer. Raises `MessageError` and `OSError`."""
        question = messages.encode(kind, fields)
        kept = self._take()
        if kept is not None and (answer := await kept.ask(question)):
            return self._read(kept, answer)
        # The agent has closed the kept connection, perhaps because it was started again.
        _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, str(self._path))
        return self._read(connection, await connection.ask(question))

    def _read(self, connection: Connection, answer: bytes) -> tuple[str, dict[str, str]]:
        try:
            message = messages.decode(answer)
        except messages.MessageError:
            connection.abort()
            raise
        if connection.is_usable and len(self._idle) < _MOST_KEPT:
            self._idle.append((self._clock() + _KEEP_SECONDS, connection))
        else:
            connection.abort()
        return message

    def _take(self) -> Connection | None:
        """Returns the usable connection that was used last."""
        while self._idle:
            until, connection = self._idle.pop()
            if connection.is_usable and self._clock() < until:
                return connection
            connection.abort()
        return None

    def close(self) -> None:
        for _, connection in self._idle:
            connection.abort()
        self._idle.clear()
