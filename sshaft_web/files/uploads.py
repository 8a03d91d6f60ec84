"""Lets one request at a time write an upload, remembers which uploads are complete, and removes abandoned ones."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

from sshaft_web.files import errors
from sshaft_web.files.errors import FileError
from sshaft_web.files.sftp import Sftp
from sshaft_web.files.upload import Upload
from sshaft_web.files.uploading import remove_part, write_chunk

_MAX_COMPLETE = 100
_MAX_UNFINISHED = 100


@dataclass(frozen=True)
class _Turn:
    superseded: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Unfinished:
    """An upload that has a part on the host. `used_at` is the end of its last request; infinite while one runs."""

    upload: Upload
    used_at: float = math.inf


class Uploads:
    """The uploads of one terminal.

    After a lost network, the page sends a chunk again while the server still waits for the rest of the first try. The
    later request ends the earlier one. `clock` is in seconds, and never goes back.
    """

    def __init__(self, sftp: Sftp, clock: Callable[[], float]) -> None:
        self._sftp = sftp
        self._clock = clock
        self._turns: dict[str, _Turn] = {}
        self._complete: dict[str, int] = {}
        self._unfinished: dict[str, _Unfinished] = {}
        self._closed = asyncio.Event()

    @property
    def are_finished(self) -> bool:
        """Whether no upload has a part on the host."""
        return not self._unfinished

    async def write(self, upload: Upload, offset: int, body: AsyncIterator[bytes]) -> tuple[int, bool]:
        """Writes a chunk. Returns the offset of its end, and whether this call has completed the file.

        A page may send the last chunk twice, because the answer was lost: the second one is not written. Raises
        `FileError`.
        """
        async with self._turn_of(upload) as turn:
            if self._closed.is_set():
                raise errors.not_open()
            if upload.number in self._complete:
                return self._complete[upload.number], False
            unfinished = self._begin(upload)
            try:
                async with aclosing(_until(turn.superseded, body)) as pieces:
                    end = await write_chunk(self._sftp, upload, offset, pieces)
            except FileError as error:
                raise errors.not_open() if self._closed.is_set() else error from error
            finally:
                unfinished.used_at = self._clock()
            is_complete = end == upload.total
            if is_complete:
                self._remember(upload)
            return end, is_complete

    async def remove(self, upload: Upload) -> None:
        """Ends an upload and removes what it has written. Raises `FileError`."""
        async with self._turn_of(upload):
            self._unfinished.pop(upload.number, None)
            await remove_part(self._sftp, upload)

    async def remove_unused(self, seconds: float) -> None:
        """Removes the uploads that no request has gone on with for so long."""
        for each in list(self._unfinished.values()):
            if self._clock() - each.used_at >= seconds:
                await self._remove(each)

    async def close(self) -> None:
        """Ends and removes all uploads that are not complete, and takes no more."""
        self._closed.set()
        for each in list(self._unfinished.values()):
            await self._remove(each)

    async def _remove(self, unfinished: _Unfinished) -> None:
        with suppress(FileError):  # the host does not let it go, so it stays there
            await self.remove(unfinished.upload)

    def _begin(self, upload: Upload) -> _Unfinished:
        unfinished = self._unfinished.setdefault(upload.number, _Unfinished(upload))
        unfinished.used_at = math.inf
        if len(self._unfinished) > _MAX_UNFINISHED:  # a page has a few; the oldest one stays on the host
            del self._unfinished[next(iter(self._unfinished))]
        return unfinished

    def _remember(self, upload: Upload) -> None:
        self._unfinished.pop(upload.number, None)
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
