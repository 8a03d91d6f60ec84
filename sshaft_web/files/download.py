"""Sends a file of the host to the browser: the whole file, or the one range that it asks for."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from sshaft_web.files.errors import FileError
from sshaft_web.files.names import content_disposition
from sshaft_web.files.ranges import Part, wanted_part
from sshaft_web.files.reading import OpenFile

_HEADERS = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Content-Type": "application/octet-stream",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""A file may be the work of anybody: no browser may show it as a page of this service."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a browser got: some bytes of a part. `failure` is why it got no more, if the host is the reason."""

    part: Part
    size: int
    failure: FileError | None = None

    @property
    def is_complete(self) -> bool:
        return self.size == self.part.size


async def send_file(file: OpenFile, scope: Scope, receive: Receive, send: Send, active: Callable[[], None]) -> Sent:
    """Answers a GET or HEAD request with the file. Ends early if the browser or the host goes away.

    `active` is called for each block.
    """
    part = await _send_head(file, scope, send)
    if scope["method"] == "HEAD" or not part.size:
        await send({"type": "http.response.body"})
        return Sent(part, part.size)
    body = _Body(file, part, send, active)
    sending = asyncio.create_task(body.send())
    gone = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        gone.cancel()
        await asyncio.wait({sending, gone})
    if not sending.cancelled():
        sending.result()
    return Sent(part, body.size, body.failure)


class _Body:
    def __init__(self, file: OpenFile, part: Part, send: Send, active: Callable[[], None]) -> None:
        self._file = file
        self._part = part
        self._send = send
        self._active = active
        self.size = 0
        self.failure: FileError | None = None

    async def send(self) -> None:
        """Sends the blocks. After a failure of the host the answer stays incomplete, and the server cuts it off."""
        try:
            async with aclosing(self._file.blocks(self._part.start, self._part.end)) as blocks:
                async for block in blocks:
                    more = self.size + len(block) < self._part.size
                    # This waits while the browser does not read.
                    await self._send({"type": "http.response.body", "body": block, "more_body": more})
                    self.size += len(block)
                    self._active()
        except FileError as error:
            self.failure = error


async def _send_head(file: OpenFile, scope: Scope, send: Send) -> Part:
    """Sends status and headers. Returns the part of the file that follows."""
    request = Headers(scope=scope)
    size = file.version.size
    validators = file.version.validators(time.time())
    part = wanted_part(request.get("range"), request.get("if-range"), size, validators)
    name = file.path.rpartition(b"/")[2]
    headers = _HEADERS | validators | {"Content-Disposition": content_disposition(name)}
    if part is None:
        status, part = 200, Part(0, size)
    elif part.size:
        status = 206
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size}"
    else:
        status = 416
        headers["Content-Range"] = f"bytes */{size}"
    headers["Content-Length"] = str(part.size)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    return part


async def _gone(receive: Receive) -> None:
    """Returns when the browser has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
