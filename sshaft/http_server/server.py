"""Changes uvicorn's server: it bounds its connections, logs our events only, and a signal ends it with status 0."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from sshaft.addresses import bracketed
from sshaft.daemon import notify
from sshaft.daemon.handover import Handover, predecessor
from sshaft.errors import ListenError
from sshaft.http_server.connections import Bounds, Connections
from sshaft.http_server.protocol import BoundedProtocol


def listen(host: str, port: int, purpose: str = "service") -> socket.socket:
    """Returns a listening socket: that of a predecessor for this purpose, or a new one. Port 0 stands for a free port.

    Raises `ListenError`.
    """
    if inherited := predecessor.listening(name_of(host, port, purpose)):
        return inherited
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        # create_server repeats the address in strerror, and strerror() does not know the negative errno of getaddrinfo.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ListenError(f"cannot listen on {bracketed(host)}:{port}: {reason}") from error

    # asyncio sets TCP_NODELAY only for sockets that name their protocol. The sockets of create_server do not name it.
    # Without it, the second part of every answer on a kept-alive connection waits 40 ms for a delayed acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def name_of(host: str, port: int, purpose: str = "service") -> str:
    """Returns the name by which a successor finds the listening socket of this address and purpose.

    Two sockets may have the same configured address: port 0.
    """
    return f"{purpose}@{host}:{port}"


def shown_address(address: object, *, is_tls: bool) -> str:
    """Returns where a socket listens: an address of the web, or the path of a UNIX socket."""
    if not isinstance(address, tuple):
        return str(address)
    return f"{'https' if is_tls else 'http'}://{bracketed(address[0])}:{address[1]}"


class BoundedServer(uvicorn.Server):
    """Serves one application. `settings` are further settings of uvicorn.

    Only `has_websockets` lets requests become WebSockets. They need the library `websockets`.
    """

    def __init__(self, app: ASGIApp, bounds: Bounds, *, has_websockets: bool = False, **settings: Any) -> None:
        self.connections = Connections(bounds)
        if has_websockets:
            from sshaft.http_server import websocket  # noqa: PLC0415 - the other programs do without the library

            settings |= websocket.settings(self.connections)
        config = uvicorn.Config(
            cast("Any", app),
            http=cast("Any", partial(BoundedProtocol, self.connections)),
            log_config=None,
            access_log=False,  # its lines would hold the URL of a page or the name of a person, which are not for a log
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            **{"ws": "none"} | settings,
        )
        super().__init__(config)

    def stop_on_signals(self) -> None:
        """Makes SIGTERM and SIGINT end the server. The event loop must run."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    def hand_over_on_signal(self, listening: Mapping[str, socket.socket]) -> None:
        """Makes SIGUSR2 start a successor with these sockets. This server then ends what it has begun."""
        Handover(self._retire, listening).listen()

    def _retire(self) -> None:
        self.should_exit = True

    def stop(self) -> None:
        notify.notify("STOPPING=1")
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: uvicorn's version ends the process by the same signal again."""
        yield


def quiet_uvicorn() -> None:
    """Turns only the warnings and errors of uvicorn into our log events."""
    logger = logging.getLogger("uvicorn")
    logger.handlers = []
    logger.setLevel(logging.WARNING)
