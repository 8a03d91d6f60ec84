"""A small ssh server on loopback, which shows any host key or certificate. It lets nobody in."""

from typing import Any, Self

import asyncssh
from fakes.loop_thread import LoopThread


class SshServer:
    """Listens until the end of the block. `host_keys` are keys, or pairs of a key and its certificate."""

    def __init__(self, *host_keys: Any) -> None:
        self.logins: list[str] = []
        """The names for which somebody has begun to log in."""
        self._host_keys = host_keys

    def __enter__(self) -> Self:
        self._loop = LoopThread()
        self._server = self._loop.run(self._listen())
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close(self._server)
        self._loop.stop()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        outer = self

        class Server(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                outer.logins.append(username)
                return True

        return await asyncssh.listen("127.0.0.1", 0, server_factory=Server, server_host_keys=list(self._host_keys))


def line(port: int, key: asyncssh.SSHKey, mark: str = "") -> str:
    """Returns the line of known_hosts for 127.0.0.1. `mark` is `@cert-authority ` or `@revoked `."""
    return f"{mark}[127.0.0.1]:{port} {key.export_public_key().decode().strip()}"
