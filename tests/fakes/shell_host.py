"""A small ssh server on loopback whose login and shell a test writes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncssh
from fakes.loop_thread import LoopThread
from fakes.ssh_server import line

Round = Sequence[tuple[str, bool]]
Shell = Callable[["asyncssh.SSHServerProcess[bytes]"], Awaitable[None]]


async def echo(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """A shell that says what it gets."""
    while data := await process.stdin.read(65536):
        process.stdout.write(data)


@dataclass
class ShellHost:
    """Lets in whoever gives `password` as the last answer. A test changes the members at any time."""

    rounds: Sequence[Round] = ((("Access Token:", False),),)
    """The questions of each keyboard-interactive round. After the last one the answers are judged."""
    password: str | None = None
    """None: everybody comes in."""
    banner: str = ""
    shell: Shell = echo
    folder: Path | None = None
    """The file system that SFTP shows. None: there is no SFTP."""
    is_frozen: bool = False
    """Whether SFTP answers no question about a file."""
    answers: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self._open: set[asyncssh.SSHServerConnection] = set()

    @property
    def known_hosts(self) -> list[str]:
        """The lines of known_hosts for this host."""
        return [line(self.port, self.key)]

    @property
    def connections(self) -> int:
        """Returns how many connections are open."""
        return len(self._open)

    def connected(self, connection: asyncssh.SSHServerConnection) -> None:
        self._open.add(connection)

    def disconnected(self, connection: asyncssh.SSHServerConnection) -> None:
        self._open.discard(connection)

    def drop_connections(self) -> None:
        """Ends all connections, as a host that loses its power."""

        async def drop() -> None:
            for each in list(self._open):
                each.abort()

        self._loop.run(drop())

    def __enter__(self) -> Self:
        self._loop = LoopThread()
        self.port = 0
        self._listen(self.key)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close(self._server)
        self._loop.stop()

    def change_key(self) -> None:
        """Shows another key from now on, at the same port."""
        self._loop.close(self._server)
        self._listen(asyncssh.generate_private_key("ssh-ed25519"))

    def _listen(self, key: asyncssh.SSHKey) -> None:
        listening = asyncssh.listen(
            "127.0.0.1", self.port, server_factory=lambda: _Server(self), server_host_keys=[key],
            process_factory=self._run, sftp_factory=self._sftp if self.folder else None, encoding=None,
            reuse_address=True, line_editor=False,
        )  # fmt: skip
        self._server = self._loop.run(listening)
        self.port = self._server.get_port()

    def _sftp(self, channel: "asyncssh.SSHServerChannel[bytes]") -> asyncssh.SFTPServer:
        return _Sftp(self, channel)

    async def _run(self, process: "asyncssh.SSHServerProcess[bytes]") -> None:
        self.sizes.append(process.get_terminal_size()[:2])
        try:
            await self.shell(process)
        except (asyncssh.TerminalSizeChanged, BrokenPipeError, ConnectionError):
            self.sizes.append(process.get_terminal_size()[:2])
        process.exit(0)


class _Sftp(asyncssh.SFTPServer):
    def __init__(self, host: ShellHost, channel: "asyncssh.SSHServerChannel[bytes]") -> None:
        super().__init__(channel, chroot=str(host.folder).encode())
        self._host = host

    async def lstat(self, path: bytes) -> Any:
        if self._host.is_frozen:
            await asyncio.Event().wait()
        return super().lstat(path)


class _Server(asyncssh.SSHServer):
    def __init__(self, host: ShellHost) -> None:
        self._host = host
        self._round = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._host.connected(conn)
        self._connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._host.disconnected(self._connection)

    def begin_auth(self, username: str) -> bool:
        self._host.users.append(username)
        if self._host.banner:
            self._connection.send_auth_banner(self._host.banner)
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        del username, lang, submethods
        self._round = 0
        return self._challenge()

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Any:
        del username
        self._host.answers += responses
        self._round += 1
        if self._round < len(self._host.rounds):
            return self._challenge()
        return self._host.password is None or responses[-1:] == [self._host.password]

    def _challenge(self) -> Any:
        return "", "", "en", list(self._host.rounds[self._round])
