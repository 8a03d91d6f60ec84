"""Serves the program on a TCP port until SIGTERM, and keeps time for sessions and terminals."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import uvloop
from starlette.types import ASGIApp

from sshaft.daemon import notify
from sshaft.daemon.host_port import HOST_PORT
from sshaft.errors import ConfigurationError
from sshaft.http_server import certificate, descriptors, server
from sshaft.http_server.connections import Bounds, close_overdue
from sshaft.http_server.proxies import with_client
from sshaft.log import get_logger
from sshaft_web import upkeep
from sshaft_web.app import new_app
from sshaft_web.configuration import Settings
from sshaft_web.recording.recorded import Recordings
from sshaft_web.state import AppState

_SHUTDOWN_SECONDS = 5


def listen(settings: Settings) -> socket.socket:
    """Returns a listening socket. Raises `ListenError`."""
    return server.listen(settings.host, settings.port)


def serve(settings: Settings, listening: socket.socket) -> None:
    """Serves until a signal stops it. SIGHUP reads the files of TLS again."""
    server.quiet_uvicorn()
    bounds = bounds_for(descriptors.raise_limit(), settings.limits.terminals)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, bounds, listening))


def bounds_for(limit: int, terminals: int) -> Bounds:
    """Returns the bounds for a process that may have `limit` descriptors. Raises `ConfigurationError` if they are few.

    Each terminal has a connection to its host, and one to its page.
    """
    bounds = descriptors.bounds_for(limit - terminals)
    if bounds.connections < terminals:
        raise ConfigurationError(
            f"limits.terminals is {terminals}, and this process may open {limit} files: raise its limit to "
            f"{2 * terminals + descriptors.RESERVE} (LimitNOFILE= of systemd), or lower limits.terminals"
        )
    return bounds


async def _run(settings: Settings, bounds: Bounds, listening: socket.socket) -> None:
    state = AppState.of(settings)
    with _metrics(state) if settings.metrics else nullcontext():
        await Server(state, new_app(state), bounds).run_on(listening)


@contextmanager
def _metrics(state: AppState) -> Iterator[None]:
    """Answers Prometheus. Raises `ConfigurationError` if that cannot be."""
    from sshaft.daemon import metrics  # noqa: PLC0415 - loads an HTTP server, which most programs do not need
    from sshaft_web.metrics import WebCollector  # noqa: PLC0415 - as above

    registry = metrics.new_registry("web")
    registry.register(WebCollector(state.sessions, state.terminals))
    listening = metrics.listen(*HOST_PORT.convert(state.settings.metrics, None, None))
    with metrics.MetricsServer(listening, registry) as serving:
        get_logger().info("metrics.ready", address=f"http://{serving.address}{metrics.PATH}")
        yield


class Server(server.BoundedServer):
    """Serves the application, and reads its certificate again on SIGHUP."""

    def __init__(self, state: AppState, app: ASGIApp, bounds: Bounds) -> None:
        self._state = state
        self._recordings = Recordings(state.settings.recording) if state.settings.recording else None
        if self._recordings is not None:
            state.terminals.observers.append(self._recordings.observe)
        self._certificate = certificate.of(state.settings.certificate_file, state.settings.private_key_file)
        super().__init__(
            with_client(app, state.settings.trusted_proxies),
            bounds,
            has_websockets=True,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            **certificate.settings(self._certificate),
        )

    async def run_on(self, listening: socket.socket) -> None:
        self.stop_on_signals()
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: certificate.reload(self._certificate, self.config.ssl)
        )
        tasks = [asyncio.create_task(close_overdue(self.connections)), *upkeep.start(self._state)]
        await self.serve(sockets=[listening])
        for task in tasks:
            task.cancel()
        get_logger().info("web.stopped")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        address = sockets[0].getsockname() if sockets else ""
        get_logger().info("web.ready", address=server.shown_address(address, is_tls=self.config.is_ssl))
        notify.notify("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._state.terminals.stop()
        if self._recordings is not None:
            await self._recordings.wait_for_all()
        await super().shutdown(sockets)
