"""Lets one request at a time write an upload, and remembers which uploads are complete."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from sshaft_web.files import errors
from sshaft_web.files.sftp import Sftp
from sshaft_web.files.upload import Upload
from sshaft_web.files.uploading import remove_part, write_chunk

_MAX_COMPLETE = 100


@dataclass(frozen=True)
class _Turn:
    superseded: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Uploads:
    """The uploads of one terminal.

    After a lost network, the page sends a chunk again while the server still waits for the rest of the first try. The
    later request ends the earlier one.
    """

    def __init__(self, sftp: Sftp) -> None:
        self._sftp = sftp
        self._turns: dict[str, _Turn] = {}
        self._complete: dict[str, int] = {}

    async def write(self, upload: Upload, offset: int, body: AsyncIterator[bytes]) -> tuple[int, bool]:
        """Writes a chunk. Returns the offset of its end, and whether this call has completed the file.

        A page may send the last chunk twice, because the answer was lost: the second one is not written. Raises
        `FileError`.
        """
        async with self._turn_of(upload) as turn:
            if upload.number in self._complete:
                return self._complete[upload.number], False
            async with aclosing(_until(turn.superseded, body)) as pieces:
                end = await write_chunk(self._sftp, upload, offset, pieces)
            is_complete = end == upload.total
            if is_complete:
                self._remember(upload)
            return end, is_complete

    async def remove(self, upload: Upload) -> None:
        """Ends an upload and removes what it has written. Raises `FileError`."""
        async with self._turn_of(upload):
            await remove_part(self._sftp, upload)

    def _remember(self, upload: Upload) -> None:
        self._complete[upload.number] = upload.total
        if len(self._complete) > _MAX_COMPLETE:
            del self._complete[next(iter(self._complete))]

    @asynccontextmanager
    async def _turn_of(self, upload: Upload) -> AsyncIterator[_Turn]:
        while (earlier := self._turns.get(upload.number)) is not None:
            earlier.superseded.set()
            await earlier.done.wait()
        turn = self._turns[upload.number] = _Turn()
        try:
            yield turn
        finally:
            del self._turns[upload.number]
            turn.done.set()


async def _until(superseded: asyncio.Event, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yields the body. Raises `FileError` as soon as the request is superseded."""
    stop = asyncio.create_task(superseded.wait())
    piece: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            piece = asyncio.ensure_future(anext(body, None))
            await asyncio.wait({piece, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                raise errors.superseded()
            if (data := piece.result()) is None:
                return
            yield data
    finally:
        unfinished = [each for each in (stop, piece) if each is not None and not each.done()]
        for each in unfinished:
            each.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
