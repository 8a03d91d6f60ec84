"""Reads HTTP from one connection, with bounds on all that a client can make the service keep.

uvicorn itself reads headers, trailers and pipelined requests without end. It also waits for an incomplete request
without end.
"""

import asyncio
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from sshaft.http_server.connections import Connections

MAX_HEAD_BYTES = 64 * 1024
"""The limit for a request line with its headers. Some more bytes may be read before they are counted."""
MAX_HEADERS = 100
MAX_PIPELINED = 8
"""The most requests of a connection that may wait behind the one that is being answered."""
MAX_PIPELINED_BYTES = 64 * 1024
_WITHOUT_BODY = ("GET", "HEAD")
_TOO_LONG = "The headers are too long."
_TOO_MANY_HEADERS = "There are too many headers."
_TOO_MANY_REQUESTS = "too many pipelined requests"


class _Refused(Exception):  # noqa: N818 - not a failure of ours
    """Stops the parser. The connection is closed."""


class BoundedProtocol(HttpToolsProtocol):
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
        self._head_bytes = 0
        """Bytes since the parser last completed the headers, a part of the body, or the message."""
        self._pipelined_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.lost(self)
        super().connection_lost(exc)

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if not self._all.is_waiting_for_client(self):  # the parser does not tell of an empty line before a request
            self._all.waits_for_client(self, self._all.bounds.head_seconds)
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return
            # Any other request to upgrade is answered in HTTP/1.1 (RFC 9110 §7.8).
        except httptools.HttpParserError as error:
            self._refuse(str(error.__context__) if isinstance(error.__context__, _Refused) else "Invalid HTTP request.")
            return
        self._pipelined_bytes = self._pipelined_bytes + len(data) if self.pipeline else 0
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_TOO_LONG)
        elif self._pipelined_bytes > MAX_PIPELINED_BYTES:
            self._refuse(_TOO_MANY_REQUESTS)

    def handle_websocket_upgrade(self) -> None:
        """Gives the connection to the WebSocket protocol, which counts it from now on."""
        if self._is_answering:  # both would write to the connection
            self._refuse(_TOO_MANY_REQUESTS)
            return
        self._unset_keepalive_if_required()
        self._all.lost(self)
        super().handle_websocket_upgrade()

    @property
    def _is_answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _refuse(self, reason: str) -> None:
        """Closes the connection, with an answer if no other answer has begun or is due before it."""
        if self.transport.is_closing():
            return
        self._all.note_closed(reason.rstrip("."))
        if self.pipeline or (self._is_answering and self.cycle.response_started):
            self.abort()
        else:
            self.send_400_response(reason)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused(_TOO_MANY_REQUESTS)
        self._all.waits_for_client(self, self._all.bounds.head_seconds)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise _Refused(_TOO_MANY_HEADERS)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._all.waits_for_client(self, self._all.bounds.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if self.scope["method"] not in _WITHOUT_BODY:  # RFC 9110 §9.3.1: the body of a GET has no meaning
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._all.client_did_its_part(self)
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Starts the answer of a request. It does no work if the connection is closed before it begins."""

        async def unless_closed(scope: Any, receive: Any, send: Any) -> None:
            if self.transport.is_closing():
                cycle.disconnected = True
            else:
                await app(scope, receive, send)

        super()._start_asgi_task(cycle, cast("ASGI3Application", unless_closed))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.pipeline and not self._all.is_waiting_for_client(self):
            # The client sends its next request, or reads the rest of the last answer before the connection closes.
            self._all.waits_for_client(self, self._all.bounds.read_seconds)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._all.waits_for_client(self, self._all.bounds.read_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._is_answering and not self.cycle.more_body:
            self._all.client_did_its_part(self)
