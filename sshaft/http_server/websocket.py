"""Reads WebSocket frames from one connection, with bounds on all that a client can make the service keep.

uvicorn itself takes empty parts of a message without end, answers pings to a client that reads nothing, and takes a
client for gone that waits until the application reads.
"""

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from sshaft.http_server.connections import Connections

MAX_MESSAGE_BYTES = 1024 * 1024
PING_SECONDS = 20.0
"""The time between two pings, and the time for the answer to one."""
_MAX_PARTS = 64
_MAX_UNREAD_BYTES = 256 * 1024
"""More answers than these to pings that the client does not read close the connection."""


class BoundedWebSocket(WebSocketsSansIOProtocol):
    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._all = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.lost(self)
        super().connection_lost(exc)

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if not self.handshake_initiated:  # the head was there as a whole, and is no request of this protocol
            self._close("Invalid WebSocket request")

    def start_keepalive(self) -> None:
        """Follows the answer that opens the WebSocket. From now on, pings find out whether the client is there."""
        self._all.client_did_its_part(self)
        super().start_keepalive()

    def keepalive_timeout(self) -> None:
        if self.read_paused:  # the answer may wait behind what the application has not read yet
            self.pong_timer = self.loop.call_later(PING_SECONDS, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent:
            self._all.waits_for_client(self, self._all.bounds.read_seconds)

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= _MAX_PARTS:
            self._close("a WebSocket message with too many parts")
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            self._close("a WebSocket client that reads no answers")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._all.waits_for_client(self, self._all.bounds.read_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.close_sent:
            self._all.client_did_its_part(self)

    def _close(self, reason: str) -> None:
        self._all.note_closed(reason)
        self.abort()


def settings(connections: Connections) -> dict[str, Any]:
    """Returns the settings of uvicorn for a program that serves WebSockets."""

    def protocol(config: Config, server_state: ServerState, app_state: dict[str, Any]) -> BoundedWebSocket:
        return BoundedWebSocket(connections, config, server_state, app_state)

    return {
        "ws": cast("Any", protocol),
        "ws_max_size": MAX_MESSAGE_BYTES,
        "ws_ping_interval": PING_SECONDS,
        "ws_ping_timeout": PING_SECONDS,
        "ws_per_message_deflate": False,  # it costs memory for each connection, and its sizes tell of secrets
    }
