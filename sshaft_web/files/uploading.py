"""Writes an upload to the host, chunk by chunk, and puts the complete file in its place.

The chunks of an upload go to a hidden file beside the target. Its name holds the random number of the upload, so that
nobody can put a link there first. The last chunk renames it: readers see the old file or the new file, nothing between.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial

import asyncssh
from asyncssh.constants import FXF_CREAT, FXF_EXCL, FXF_WRITE

from sshaft_web.files import errors
from sshaft_web.files.errors import FileError
from sshaft_web.files.finishing import attributes_of, finish, target_of
from sshaft_web.files.listing import kind_of
from sshaft_web.files.sftp import ONE_REQUEST, Sftp
from sshaft_web.files.upload import Upload

BLOCK_BYTES = 64 * 1024
BLOCKS_AHEAD = 16
"""Writes that the host has not confirmed. They are sent in order, so an interrupted file has no hole before them."""
_MIN_BLOCK_BYTES = 1024
_PRIVATE = 0o600


async def write_chunk(sftp: Sftp, upload: Upload, offset: int, body: AsyncIterator[bytes]) -> int:
    """Writes the body at `offset` and returns the offset of its end. The last chunk completes the file.

    Raises `FileError`. The host then has at least all that an earlier call has returned.
    """
    if offset == 0:
        await target_of(sftp, upload)
        await _check_space(sftp, upload)
    file, size = await _opened(sftp, upload, offset)
    try:
        end = await _write(sftp, upload, file, offset, body)
        if end == upload.total < size:
            await sftp.wait(partial(file.truncate, end), upload.target)
    except BaseException:
        with suppress(FileError):
            await sftp.wait(file.close, upload.target)
        raise
    await sftp.wait(file.close, upload.target)
    if end == upload.total:
        await finish(sftp, upload)
    return end


async def remove_part(sftp: Sftp, upload: Upload) -> None:
    """Removes what an unfinished upload has written. Raises `FileError`."""
    if await attributes_of(sftp, upload.part) is not None:
        await sftp.ask(lambda client: client.remove(upload.part), upload.part)


async def _check_space(sftp: Sftp, upload: Upload) -> None:
    """Raises `FileError` if the host says that the file does not fit. A host that cannot say is not asked."""
    try:
        facts = await sftp.ask(lambda client: client.statvfs(upload.folder), upload.folder)
    except FileError as error:
        if error.code in (errors.UNSUPPORTED, errors.HOST_FAILED):
            return
        raise
    free = facts.bavail * (facts.frsize or facts.bsize)
    if upload.total > free:
        raise errors.no_space(free)


async def _opened(sftp: Sftp, upload: Upload, offset: int) -> tuple[asyncssh.SFTPClientFile, int]:
    """Opens the part for writing at `offset`. Returns it, and the size that it has already.

    A new part that will replace a file is for its owner only: the file may be private.
    """
    found = await attributes_of(sftp, upload.part)
    size = 0 if found is None else found.size or 0
    if offset > size:
        raise errors.wrong_offset(size)
    if found is not None and kind_of(found) != "file":
        raise errors.strange_host()
    flags = FXF_WRITE if found is not None else FXF_WRITE | FXF_CREAT | FXF_EXCL
    mode = asyncssh.SFTPAttrs(permissions=_PRIVATE) if upload.replace else asyncssh.SFTPAttrs()
    file = await sftp.ask(
        lambda client: client.open(upload.part, flags, mode, encoding=None, block_size=ONE_REQUEST), upload.target
    )
    return file, size


async def _write(
    sftp: Sftp, upload: Upload, file: asyncssh.SFTPClientFile, offset: int, body: AsyncIterator[bytes]
) -> int:
    limit = (await sftp.client()).limits.max_write_len
    pending: deque[asyncio.Task[None]] = deque()
    try:
        async with aclosing(in_blocks(body, max(_MIN_BLOCK_BYTES, min(BLOCK_BYTES, limit)))) as blocks:
            async for block in blocks:
                if offset + len(block) > upload.total:
                    raise errors.too_long(upload.total)
                if len(pending) == BLOCKS_AHEAD:
                    await pending.popleft()
                pending.append(asyncio.create_task(_write_block(sftp, upload, partial(file.write, block, offset))))
                offset += len(block)
        while pending:
            await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    return offset


async def _write_block(sftp: Sftp, upload: Upload, write: Callable[[], Awaitable[int]]) -> None:
    try:
        await sftp.wait(write, upload.target)
    except FileError as error:
        raise errors.cannot_write(upload.target) if error.code == errors.HOST_FAILED else error from error


async def in_blocks(body: AsyncIterator[bytes], size: int) -> AsyncGenerator[bytes, None]:
    """Yields the body in blocks of `size` bytes. The last block may be smaller."""
    kept = bytearray()
    async for data in body:
        kept += data
        while len(kept) >= size:
            yield bytes(kept[:size])
            del kept[:size]
    if kept:
        yield bytes(kept)
