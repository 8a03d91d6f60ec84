"""An SSH server on loopback that takes everybody, with the SFTP server of a test; and a connection to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.packet import Byte, String, UInt32
from fakes.ssh_server import line

Answer = Callable[[int, bytes], bytes | None]
"""Gets the type of a packet and what follows its id. Returns the type and what follows the id of the answer."""
INIT, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT = 1, 3, 4, 5, 6, 7, 8
OPENDIR, READDIR, REMOVE, REALPATH, STAT, RENAME = 11, 12, 13, 16, 17, 18
VERSION = b"\x02"
VERSION_3 = VERSION + UInt32(3)
EXTENDED, EXTENDED_REPLY = 200, 201
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
OK, EOF, FAILURE = 0, 1, 4


class _Anybody(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        del username
        return False


class _Hostile(_Anybody):
    def __init__(self, answer: Answer, greeting: bytes, version: bytes) -> None:
        self._session = partial(_HostileSession, answer, greeting, version)

    def session_requested(self) -> "_HostileSession":
        return self._session()


class _HostileSession(asyncssh.SSHServerSession[bytes]):
    def __init__(self, answer: Answer, greeting: bytes, version: bytes) -> None:
        self._answer = answer
        self._version = version
        self._greeting = greeting
        self._received = b""

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        self._channel = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
        self._channel.write(self._greeting)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype
        self._received += data
        while len(self._received) >= (end := 4 + int.from_bytes(self._received[:4], "big")) and end > 4:
            packet, self._received = self._received[4:end], self._received[end:]
            if packet[0] == INIT:
                self._send(self._version)
            elif (said := self._answer(packet[0], packet[5:])) is not None:
                self._send(said[:1] + packet[1:5] + said[1:])

    def _send(self, packet: bytes) -> None:
        with suppress(BrokenPipeError):
            self._channel.write(UInt32(len(packet)) + packet)


@cache
def _host_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@asynccontextmanager
async def ssh_host(**server: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Yields a connection to an SSH server with these settings of asyncssh."""
    key = _host_key()
    settings = {"server_factory": _Anybody, "server_host_keys": [key], "encoding": None} | server
    listener = await asyncssh.listen("127.0.0.1", 0, **settings)
    known = line(listener.get_port(), key).encode()
    try:
        async with asyncssh.connect(
            "127.0.0.1", listener.get_port(), known_hosts=known, username="alice", config=None, client_keys=None
        ) as connection:
            yield connection
    finally:
        listener.close()
        await listener.wait_closed()


@asynccontextmanager
async def sftp_host(folder: Path) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Yields a connection to a host whose file system is `folder`. asyncssh serves it."""

    def server(channel: "asyncssh.SSHServerChannel[bytes]") -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=str(folder).encode())

    async with ssh_host(sftp_factory=server) as connection:
        yield connection


@asynccontextmanager
async def hostile_host(
    answer: Answer, greeting: bytes = b"", version: bytes = VERSION_3
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Yields a connection to a host whose SFTP server answers each packet with `answer`. None: it says nothing."""
    async with ssh_host(server_factory=lambda: _Hostile(answer, greeting, version)) as connection:
        yield connection


def status(code: int) -> bytes:
    return Byte(STATUS) + UInt32(code) + String(b"said by the host") + String(b"")


def names(*entries: tuple[bytes, int]) -> bytes:
    """Returns a packet with these names and modes."""
    each = (String(name) + String(b"") + UInt32(4) + UInt32(mode) for name, mode in entries)
    return Byte(NAME) + UInt32(len(entries)) + b"".join(each)


def attributes(size: int, mode: int = 0o100644, modified: int = 1_000_000) -> bytes:
    flags = UInt32(0x1 | 0x4 | 0x8)
    return Byte(ATTRS) + flags + size.to_bytes(8, "big") + UInt32(mode) + UInt32(modified) + UInt32(modified)
