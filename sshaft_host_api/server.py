"""Serves the API on a TCP port or a UNIX socket until SIGTERM."""

import asyncio
import signal
import socket
from collections.abc import Mapping

import uvloop

from sshaft.daemon import notify
from sshaft.daemon.handover import predecessor
from sshaft.daemon.unix_socket import listen_at
from sshaft.errors import ListenError
from sshaft.http_server import certificate, descriptors, server
from sshaft.http_server.connections import Bounds, close_overdue
from sshaft.http_server.proxies import with_client
from sshaft.log import get_logger
from sshaft_host_api.agent import Agent
from sshaft_host_api.app import App
from sshaft_host_api.configuration import Settings
from sshaft_host_api.pages import read_privacy

_SHUTDOWN_SECONDS = 5


def listen(settings: Settings) -> socket.socket:
    """Returns a listening socket. A UNIX socket is for this account and its group, to which the proxy belongs.

    Raises `ListenError`.
    """
    if settings.socket is None:
        return server.listen(settings.host, settings.port)
    if inherited := predecessor.listening(_name_of(settings)):
        return inherited
    try:
        return listen_at(settings.socket, 0o660)
    except OSError as error:
        raise ListenError(f"cannot listen on {settings.socket}: {error.strerror or error}") from error


def _name_of(settings: Settings) -> str:
    return server.name_of(settings.host, settings.port) if settings.socket is None else str(settings.socket)


def serve(settings: Settings, listening: socket.socket) -> None:
    """Serves until a signal stops it. SIGHUP reads the files of TLS again."""
    server.quiet_uvicorn()
    bounds = descriptors.bounds_for(descriptors.raise_limit())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Server(settings, bounds).run_on({_name_of(settings): listening}))


class Server(server.BoundedServer):
    """Serves the API, and reads its certificate again on SIGHUP."""

    def __init__(self, settings: Settings, bounds: Bounds) -> None:
        statement = read_privacy(settings.privacy_file)
        self._certificate = certificate.of(settings.certificate_file, settings.private_key_file)
        self._agent = Agent(settings.agent_socket)
        app = App(self._agent, cross_origin=settings.cross_origin == "any", statement=statement)
        super().__init__(
            with_client(app, settings.trusted_proxies),
            bounds,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            **certificate.settings(self._certificate),
        )

    async def run_on(self, listening: Mapping[str, socket.socket]) -> None:
        self.stop_on_signals()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        overdue = asyncio.create_task(close_overdue(self.connections))
        self.hand_over_on_signal(listening)
        await self.serve(sockets=list(listening.values()))
        overdue.cancel()
        self._agent.close()
        get_logger().info("host_api.stopped")

    def _reload(self) -> None:
        certificate.reload(self._certificate, self.config.ssl)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        address = sockets[0].getsockname() if sockets else ""
        get_logger().info("host_api.ready", address=server.shown_address(address, is_tls=self.config.is_ssl))
        notify.notify("READY=1")
        predecessor.serves()


def check_files(settings: Settings) -> None:
    """Raises `ConfigurationError` if the files that the settings name cannot be used."""
    read_privacy(settings.privacy_file)
    if found := certificate.of(settings.certificate_file, settings.private_key_file):
        found.check()
