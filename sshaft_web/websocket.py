"""Connects a page with its terminal by a WebSocket: output and keys as bytes, everything else as JSON."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sshaft_web.browsers import Columns, Message, RefusedError, Rows, is_own_origin, session_or_none, terminal_of
from sshaft_web.people.sessions import Session
from sshaft_web.terminals.terminal import Size, State, Terminal

SIGNED_OUT, ENDED, REPLACED, NO_SUCH_TERMINAL, INVALID = 4001, 4002, 4003, 4004, 1008
_PIECE = 64 * 1024
_MAX_TEXT = 1024


class SizeMessage(Message):
    """The page has another size."""

    type: Literal["size"]
    columns: Columns
    rows: Rows


class SeenMessage(Message):
    """The page has shown all output before this offset."""

    type: Literal["seen"]
    offset: Annotated[int, Field(ge=0)]


class PingMessage(Message):
    """The page asks whether the connection works."""

    type: Literal["ping"]


_MESSAGES: TypeAdapter[SizeMessage | SeenMessage | PingMessage] = TypeAdapter(
    Annotated[SizeMessage | SeenMessage | PingMessage, Field(discriminator="type")]
)


async def socket(websocket: WebSocket) -> None:
    """Serves the WebSocket of one terminal. A page of another site gets no WebSocket at all."""
    if not is_own_origin(websocket):
        await websocket.send_denial_response(Response(status_code=403))
        return
    with suppress(WebSocketDisconnect):
        await _serve(websocket)


async def _serve(websocket: WebSocket) -> None:
    session = session_or_none(websocket)
    await websocket.accept()
    if session is None:
        await websocket.close(SIGNED_OUT)
        return
    try:
        terminal = terminal_of(websocket)
    except RefusedError:
        await websocket.close(NO_SUCH_TERMINAL)
        return
    await Attachment(websocket, session, terminal, _offset(websocket)).run()


def _offset(websocket: WebSocket) -> int:
    text = websocket.query_params.get("from", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


class Attachment:
    """A page at its terminal (`terminal.Page`)."""

    def __init__(self, websocket: WebSocket, session: Session, terminal: Terminal, offset: int) -> None:
        output = terminal.output
        self.sent = offset if output.start <= offset <= output.end else output.start
        self.seen = self.sent
        self._websocket = websocket
        self._session = session
        self._terminal = terminal
        self._news = asyncio.Event()
        self._code = 0
        self._shown: tuple[State, str] | None = None
        self._shows_recording = False

    def wake(self) -> None:
        self._news.set()

    def replaced(self) -> None:
        self._end(REPLACED)

    def _end(self, code: int) -> None:
        """Closes the WebSocket. The first code counts."""
        self._code = self._code or code
        self.wake()

    async def run(self) -> None:
        unwatch = self._session.watch(lambda _: self._end(SIGNED_OUT))
        self._terminal.attach(self)
        reading = asyncio.create_task(self._read())
        try:
            with suppress(WebSocketDisconnect):
                # What was written before may hold questions that another page has answered.
                await self._send({"type": "offset", "offset": self.sent, "end": self._terminal.output.end})
                await self._write(reading)
                await self._websocket.close(self._code or 1000)
        finally:
            unwatch()
            self._terminal.detach(self)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    # To the page

    async def _write(self, reading: "asyncio.Task[None]") -> None:
        """Sends output and news until the end."""
        while not self._code and not reading.done():
            self._news.clear()
            await self._send_state()
            async for piece in self._pieces():
                await self._websocket.send_bytes(piece)
                self._terminal.saw()
            if self._terminal.state is State.CLOSED:
                await self._send_state()
                self._terminal.was_shown = True
                self._end(SIGNED_OUT if self._terminal.session.end else ENDED)
            await self._news.wait()

    async def _pieces(self) -> AsyncIterator[bytes]:
        output = self._terminal.output
        while self.sent < output.end and not self._code:
            if self.sent < output.start:  # it was slower than the output that is kept
                self.sent = output.start
                await self._send({"type": "offset", "offset": self.sent})
            piece = output.read(self.sent, _PIECE)
            self.sent += len(piece)
            yield piece

    async def _send_state(self) -> None:
        terminal = self._terminal
        if self._shows_recording != terminal.is_recorded:
            self._shows_recording = terminal.is_recorded
            await self._send({"type": "recording", "on": terminal.is_recorded})
        if self._shown == (terminal.state, terminal.message):
            return
        self._shown = terminal.state, terminal.message
        await self._send({"type": "state", "state": terminal.state, "message": terminal.message,
                          "account": terminal.account, "host": terminal.target.host})  # fmt: skip

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send_json(message)

    # From the page

    async def _read(self) -> None:
        """Takes keys and messages until the page goes."""
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if (keys := message.get("bytes")) is not None:
                    await self._terminal.type(keys)
                else:
                    await self._take(message.get("text") or "")
        except ValidationError:
            self._end(INVALID)
        finally:
            self.wake()

    async def _take(self, text: str) -> None:
        match _MESSAGES.validate_json(text if len(text) <= _MAX_TEXT else ""):
            case SizeMessage(columns=columns, rows=rows):
                self._terminal.resize(Size(columns, rows))
            case SeenMessage(offset=offset):
                self.seen = min(max(self.seen, offset), self.sent)
                self._terminal.saw()
            case PingMessage():
                await self._send({"type": "pong"})


ROUTES = [WebSocketRoute("/terminals/{id}/socket", socket)]
