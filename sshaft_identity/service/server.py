"""Serves the application on a socket until SIGTERM or SIGINT, for `sshaft identity serve`."""

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

import uvloop
from anyio.to_thread import current_default_thread_limiter
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool

from sshaft.addresses import bracketed
from sshaft.daemon import notify
from sshaft.daemon.handover import predecessor
from sshaft.http_server import descriptors
from sshaft.http_server.connections import Bounds
from sshaft.http_server.server import BoundedServer, quiet_uvicorn
from sshaft.log import get_logger
from sshaft_identity.audit import chain
from sshaft_identity.audit.chain import OnSealed
from sshaft_identity.service import background
from sshaft_identity.web.state import AppState

_SHUTDOWN_SECONDS = 2
_THREADS = 20
"""More threads would only compete for the interpreter's lock."""


def serve(
    app: Starlette, listening: Mapping[str, socket.socket], on_sealed: OnSealed | None, reload: Callable[[], None]
) -> None:
    """Serves until a signal stops it. SIGHUP calls `reload`. Logs `identity.ready` with the real address.

    The first of `listening` is the socket of the service. A successor gets all. `on_sealed`: see `audit.chain`.
    """
    quiet_uvicorn()
    bounds = descriptors.bounds_for(descriptors.raise_limit())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Server(app, on_sealed, bounds, reload).run_on(listening))


class Server(BoundedServer):
    """Serves the application. Its end answers all long polls."""

    def __init__(self, app: Starlette, on_sealed: OnSealed | None, bounds: Bounds, reload: Callable[[], None]) -> None:
        super().__init__(app, bounds, timeout_graceful_shutdown=_SHUTDOWN_SECONDS)
        self._reload = reload
        self._on_sealed = on_sealed
        self._state = cast("AppState", app.state.sshaft)
        # Half of the connections stay free for calls that do not wait.
        self._state.waiting.most = bounds.connections // 2
        self._background: list[asyncio.Task[None]] = []

    async def run_on(self, listening: Mapping[str, socket.socket]) -> None:
        current_default_thread_limiter().total_tokens = _THREADS
        self.stop_on_signals()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        database = self._state.store.database
        sealing = asyncio.create_task(background.keep_sealing(database, self._on_sealed))
        self.hand_over_on_signal(listening)
        await self.serve(sockets=[next(iter(listening.values()))])
        sealing.cancel()
        with suppress(SQLAlchemyError):  # the next start seals the remaining events
            await run_in_threadpool(chain.seal_all, database)
        get_logger().info("identity.stopped")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._background = background.start(self._state, self.connections)
        host, port = sockets[0].getsockname()[:2] if sockets else (None, None)
        get_logger().info("identity.ready", address=f"http://{bracketed(str(host))}:{port}")
        notify.notify("READY=1")
        predecessor.serves()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.changes.close()
        for task in self._background:
            task.cancel()
        await super().shutdown(sockets)
