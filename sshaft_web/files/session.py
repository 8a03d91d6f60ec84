"""Holds what belongs to the files of one terminal. It ends with the terminal."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncssh

from sshaft_web.files.sftp import Sftp
from sshaft_web.files.uploads import Uploads

REMOVAL_SECONDS = 5.0
"""The time for a host to remove unfinished uploads. After that they stay there."""


class FileSession:
    """`clock` is in seconds, and never goes back."""

    def __init__(self, connection: asyncssh.SSHClientConnection, clock: Callable[[], float]) -> None:
        self.sftp = Sftp(connection)
        self.uploads = Uploads(self.sftp, clock)

    async def remove_unused_uploads(self, seconds: float) -> None:
        """Removes the unfinished uploads that no request has gone on with for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REMOVAL_SECONDS):
                await self.uploads.remove_unused(seconds)

    async def close(self) -> None:
        """Ends all transfers at once, and removes the unfinished uploads."""
        self.sftp.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(REMOVAL_SECONDS):
                await self.uploads.close()
