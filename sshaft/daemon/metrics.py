"""Serves metrics for Prometheus if the operator wants them, with a small server of its own.

Agent and identity service load this module on demand only, so they run without prometheus-client.
"""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import TYPE_CHECKING, Self

from sshaft import __version__
from sshaft.errors import ConfigurationError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

PATH = "/metrics"
_REQUEST_TIMEOUT = 5.0
"""Seconds for a client to send its request."""


def library() -> ModuleType:
    """Returns the module `prometheus_client`. Raises `ConfigurationError` if it is not installed."""
    try:
        import prometheus_client  # noqa: PLC0415 - an extra, loaded when it is asked for
    except ModuleNotFoundError:
        raise ConfigurationError("metrics need prometheus-client: pip install 'sshaft[metrics]'") from None
    return prometheus_client


def new_registry(program: str) -> "CollectorRegistry":
    """Returns a registry with the metrics of every program: its version and its process."""
    prometheus = library()
    registry: CollectorRegistry = prometheus.CollectorRegistry()
    build = prometheus.Gauge(f"sshaft_{program}_build_info", "Which version runs.", ["version"], registry=registry)
    build.labels(__version__).set(1)
    prometheus.ProcessCollector(registry=registry)
    return registry


def scrape(registry: "CollectorRegistry", accept: str) -> tuple[bytes, str]:
    """Returns all metrics in the format that the header `Accept` prefers, and the media type."""
    library()
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - as above

    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class MetricsServer:
    """Answers `GET /metrics` on a socket that already listens, in threads of its own."""

    def __init__(self, listening: socket.socket, registry: "CollectorRegistry") -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_TIMEOUT
            server_version, sys_version = "sshaft", ""

            def do_GET(self) -> None:
                if self.path.partition("?")[0] != PATH:
                    self.send_error(404)
                    return
                body, media_type = scrape(registry, self.headers.get("Accept", ""))
                self.send_response(200)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Writes no access log."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Logs nothing if a client closes its connection early."""

        self._server = Server(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        host, port = self._server.socket.getsockname()[:2]
        return f"{f'[{host}]' if ':' in host else host}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening socket. Raises `ConfigurationError` if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(f"metrics: cannot listen on {host}:{port}: {error.strerror}") from error
