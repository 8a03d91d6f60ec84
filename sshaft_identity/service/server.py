"""Serves the application on a socket until SIGTERM or SIGINT, for `sshaft identity serve`."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

import uvicorn
import uvloop
from anyio.to_thread import current_default_thread_limiter
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool

from sshaft.daemon import notify
from sshaft.log import get_logger
from sshaft_identity.audit import chain
from sshaft_identity.audit.chain import OnSealed
from sshaft_identity.common.addresses import bracketed
from sshaft_identity.common.errors import ListenError
from sshaft_identity.service import background, descriptors
from sshaft_identity.service.connections import Bounds, Connections
from sshaft_identity.service.protocol import BoundedProtocol
from sshaft_identity.web.state import AppState

_SHUTDOWN_SECONDS = 2
_THREADS = 20
"""More threads would only compete for the interpreter's lock."""


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening socket. Port 0 stands for a free port. Raises `ListenError`."""
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


def serve(app: Starlette, listening: socket.socket, on_sealed: OnSealed | None, reload: Callable[[], None]) -> None:
    """Serves until a signal stops it. SIGHUP calls `reload`. Logs `identity.ready` with the real address.

    `on_sealed`: see `audit.chain`.
    """
    quiet_uvicorn()
    bounds = descriptors.bounds_for(descriptors.raise_limit())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Server(app, on_sealed, bounds, reload).run_on(listening))


class Server(uvicorn.Server):
    """Changes uvicorn: it bounds its connections, it logs our events, a signal ends it with status 0, and its end
    answers all long polls.
    """

    def __init__(self, app: Starlette, on_sealed: OnSealed | None, bounds: Bounds, reload: Callable[[], None]) -> None:
        self.connections = Connections(bounds)
        config = uvicorn.Config(
            app,
            http=cast("Any", partial(BoundedProtocol, self.connections)),
            log_config=None,
            access_log=False,  # its lines would hold the URL of the page, which is a secret
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        super().__init__(config)
        self._reload = reload
        self._on_sealed = on_sealed
        self._state = cast("AppState", app.state.sshaft)
        # Half of the connections stay free for calls that do not wait.
        self._state.waiting.most = bounds.connections // 2
        self._background: list[asyncio.Task[None]] = []

    async def run_on(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        current_default_thread_limiter().total_tokens = _THREADS
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        database = self._state.store.database
        sealing = asyncio.create_task(background.keep_sealing(database, self._on_sealed))
        await self.serve(sockets=[listening])
        sealing.cancel()
        with suppress(SQLAlchemyError):  # the next start seals the remaining events
            await run_in_threadpool(chain.seal_all, database)
        get_logger().info("identity.stopped")

    def stop(self) -> None:
        notify.notify("STOPPING=1")
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: uvicorn's version ends the process by the same signal again, and `run_on` set our handlers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._background = background.start(self._state, self.connections)
        host, port = sockets[0].getsockname()[:2] if sockets else (None, None)
        get_logger().info("identity.ready", address=f"http://{bracketed(str(host))}:{port}")
        notify.notify("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.changes.close()
        for task in self._background:
            task.cancel()
        await super().shutdown(sockets)


def quiet_uvicorn() -> None:
    """Turns only the warnings and errors of uvicorn into our log events."""
    logger = logging.getLogger("uvicorn")
    logger.handlers = []
    logger.setLevel(logging.WARNING)
