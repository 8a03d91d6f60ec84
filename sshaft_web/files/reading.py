"""Reads a file of the host in order, some blocks ahead of the browser."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import asyncssh

from sshaft_web.files import errors
from sshaft_web.files.errors import FileError
from sshaft_web.files.listing import kind_of, modified_of
from sshaft_web.files.ranges import Version
from sshaft_web.files.sftp import ONE_REQUEST, Sftp

BLOCK_BYTES = 64 * 1024
BLOCKS_AHEAD = 16
"""One transfer keeps at most 1 MiB in memory, and as much is on its way from the host."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file of the host that is open for reading."""

    path: bytes
    version: Version
    _sftp: Sftp
    _file: asyncssh.SFTPClientFile

    async def blocks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yields the bytes from `start` to `end`. Raises `FileError`, also if the file has become shorter.

        Close the iterator: it may wait for answers of the host.
        """
        pending: deque[asyncio.Task[bytes]] = deque()
        try:
            while start < end or pending:
                while start < end and len(pending) < BLOCKS_AHEAD:
                    size = min(BLOCK_BYTES, end - start)
                    pending.append(asyncio.create_task(self._block(start, size)))
                    start += size
                yield await pending.popleft()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _block(self, offset: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = await self._some(offset + len(data), size - len(data))
            if not more:
                raise errors.changed(self.path)
            data += more
        return data

    async def _some(self, offset: int, size: int) -> bytes:
        data: bytes = await self._sftp.wait(lambda: self._file.read(size, offset), self.path)
        if len(data) > size:
            raise errors.strange_host()
        return data


@asynccontextmanager
async def opened(sftp: Sftp, path: bytes) -> AsyncIterator[OpenFile]:
    """Opens an ordinary file for reading, and closes it at the end. Raises `FileError`.

    Only an ordinary file is opened: a FIFO would stop the SFTP server of OpenSSH, and with it all other transfers.
    """
    if kind_of(await sftp.ask(lambda client: client.stat(path), path)) != "file":
        raise errors.not_a_file(path)
    file = await sftp.ask(lambda client: client.open(path, "rb", block_size=ONE_REQUEST), path)
    try:
        attributes = await sftp.wait(file.stat, path)
        yield OpenFile(path, Version(attributes.size or 0, modified_of(attributes)), sftp, file)
    finally:
        with suppress(FileError):
            await sftp.wait(file.close, path)
