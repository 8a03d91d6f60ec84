"""Bounds the connections of this process: their number, and the time in which a client must do its part.

A connection that waits for its client can be closed at any time: the client has to send a request, the rest of a
request, or has to read an answer. A connection whose request is being answered stays open.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sshaft.log import get_logger

_QUIET_SECONDS = 60
_OVERDUE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """docs/operating.md names these figures."""

    connections: int = 10_000
    waiting_for_client: int = 2_000
    """More than the 1,024 connections that the kernel may hand over at once."""
    head_seconds: float = 10
    """From the opening of a connection, or the first byte of a request, until the end of the headers."""
    body_seconds: float = 30
    read_seconds: float = 30
    """The time in which the client must begin to read an answer that fills the buffers."""


class Connection(Protocol):
    def abort(self) -> None: ...


class Connections:
    """Knows all connections of this process. Its methods are called in the event loop."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self.bounds = bounds
        self._clock = clock
        self._open: set[Connection] = set()
        self._deadlines: dict[Connection, float] = {}
        """The connections that wait for their client. The longest wait comes first."""
        self._counts: Counter[str] = Counter()
        self._quiet_until: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """The number of connections that wait for their client."""
        return len(self._deadlines)

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: Connection) -> None:
        """Counts a new connection. If there are too many, closes the one that has waited for its client longest."""
        self._open.add(connection)
        self.waits_for_client(connection, self.bounds.head_seconds)
        if len(self._open) > self.bounds.connections:
            self._close_longest_wait("too many connections")

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._deadlines.pop(connection, None)

    def waits_for_client(self, connection: Connection, seconds: float) -> None:
        """Notes that the client must do its part within `seconds`."""
        if connection not in self._open:
            return
        self._deadlines.pop(connection, None)
        self._deadlines[connection] = self._clock() + seconds
        if len(self._deadlines) > self.bounds.waiting_for_client:
            self._close_longest_wait("too many incomplete requests")

    def is_waiting_for_client(self, connection: Connection) -> bool:
        return connection in self._deadlines

    def client_did_its_part(self, connection: Connection) -> None:
        self._deadlines.pop(connection, None)

    def close_overdue(self) -> None:
        """Closes the connections whose clients are late."""
        now = self._clock()
        for connection in [each for each, deadline in self._deadlines.items() if deadline <= now]:
            self._abort(connection)

    def note_closed(self, reason: str) -> None:
        """Logs that a connection was closed for this reason: at once, then at most once a minute with their number."""
        self._counts[reason] += 1
        now = self._clock()
        if now >= self._quiet_until.get(reason, now):
            self._quiet_until[reason] = now + _QUIET_SECONDS
            get_logger().warning("connections.closed", reason=reason, closed=self._counts.pop(reason), open=len(self))

    def _close_longest_wait(self, reason: str) -> None:
        self._abort(next(iter(self._deadlines)))
        self.note_closed(reason)

    def _abort(self, connection: Connection) -> None:
        self.lost(connection)
        connection.abort()


async def close_overdue(connections: Connections, every: float = _OVERDUE_SECONDS) -> None:
    """Closes the connections whose clients are late, until cancelled."""
    while True:
        connections.close_overdue()
        await asyncio.sleep(every)
