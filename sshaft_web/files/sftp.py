"""Keeps one SFTP client on the connection of a terminal, with a time limit for each answer of the host.

A person can put another program in the place of their SFTP server, so its answers are not trusted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import asyncssh
from asyncssh.constants import FXP_NAME, OPEN_REQUEST_SESSION_FAILED

from sshaft_web.files import errors
from sshaft_web.files.errors import FileError

ANSWER_SECONDS = 30.0
MAX_PACKET_BYTES = 257 * 1024
"""OpenSSH sends at most 256 KiB. asyncssh would take 4 MiB."""
MAX_NAMES = 2000
"""The most names in one packet. Reading the names of a packet of 4 MiB would stop all terminals for seconds."""
ONE_REQUEST = 0
"""The `block_size` of a file whose reads and writes are one request each. asyncssh would start tasks that go on after
a cancelled read."""
_COUNT = slice(5, 9)
_LENGTH_BYTES = 4
T = TypeVar("T")


class Sftp:
    """Opens the SFTP session of a terminal when it is first needed, and again after it ended."""

    def __init__(self, connection: asyncssh.SSHClientConnection, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._connection = connection
        self._seconds = answer_seconds
        self._opening = asyncio.Lock()
        self._writer: asyncssh.SSHWriter[bytes] | None = None
        self._client: asyncssh.SFTPClient | None = None

    async def client(self) -> asyncssh.SFTPClient:
        """Returns the client, whose names and paths are bytes. Raises `FileError`."""
        async with self._opening:
            if self._client is None or self._writer is None or self._writer.is_closing():
                self._client = await self._open()
            return self._client

    async def ask(self, question: Callable[[asyncssh.SFTPClient], Awaitable[T]], path: bytes) -> T:
        """Returns the answer of the host to a question about `path`. Raises `FileError`."""
        client = await self.client()
        return await self.wait(lambda: question(client), path)

    async def wait(self, question: Callable[[], Awaitable[T]], path: bytes) -> T:
        """Asks about an open file at `path`. Raises `FileError`, also if the host is silent or breaks the protocol."""
        try:
            async with asyncio.timeout(self._seconds):
                return await question()
        except TimeoutError:
            self.close()  # all answers of a session come in one stream: the session is of no use any more
            raise errors.silent_host(self._seconds) from None
        except (asyncssh.Error, OSError, EOFError, ValueError) as error:
            raise errors.of_host(error, path) from error

    def close(self) -> None:
        """Ends the SFTP session with all its open files. The terminal stays open."""
        if self._writer is not None:
            self._writer.close()
        self._writer = self._client = None

    async def _open(self) -> asyncssh.SFTPClient:
        bounded = _BoundedConnection(self._connection)
        client = None
        try:
            async with asyncio.timeout(self._seconds):
                client = await bounded.start_sftp_client()
        except TimeoutError:
            raise errors.silent_host(self._seconds) from None
        except (asyncssh.Error, OSError, EOFError, ValueError) as error:
            raise self._why(error, bounded.reader) from error
        finally:
            self._writer = bounded.writer
            if client is None:
                self.close()
        return client

    def _why(self, error: Exception, reader: "_BoundedReader | None") -> FileError:
        """Returns what a failure to open a session means."""
        if self._connection.is_closed():
            return errors.lost_host()
        if isinstance(error, asyncssh.ChannelOpenError) and error.code != OPEN_REQUEST_SESSION_FAILED:
            return errors.no_more_sessions()
        return errors.not_sftp() if reader is not None and reader.has_read else errors.no_sftp()


class _BoundedConnection:
    """Stands for a connection whose SFTP client reads through a `_BoundedReader`. asyncssh has no setting for it."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection
        self.reader: _BoundedReader | None = None
        self.writer: asyncssh.SSHWriter[bytes] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    async def open_session(self, **options: Any) -> tuple[object, object, object]:
        self.writer, reader, stderr = await self._connection.open_session(**options)
        self.reader = _BoundedReader(reader)
        return self.writer, self.reader, stderr

    async def start_sftp_client(self) -> asyncssh.SFTPClient:
        connection = cast("asyncssh.SSHClientConnection", self)
        return await asyncssh.SSHClientConnection.start_sftp_client(connection, path_encoding=None)


class _BoundedReader:
    """Refuses packets that would cost too much memory or time. asyncssh then closes the SFTP session."""

    def __init__(self, reader: "asyncssh.SSHReader[bytes]") -> None:
        self._reader = reader
        self.logger = reader.logger
        self.get_extra_info = reader.get_extra_info
        self.has_read = False

    async def readexactly(self, n: int) -> bytes:
        if n > MAX_PACKET_BYTES:
            raise asyncssh.SFTPBadMessage("the packet is too long")
        data = await self._reader.readexactly(n)
        self.has_read = True
        if n > _LENGTH_BYTES and data[0] == FXP_NAME and not 0 < int.from_bytes(data[_COUNT], "big") <= MAX_NAMES:
            raise asyncssh.SFTPBadMessage("the packet holds no names, or too many")
        return data
