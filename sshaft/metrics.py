"""Metrics for Prometheus, where an operator asks for them: the library on demand, and a small server of its own.

Nothing here is loaded by default: agent and identity service run without prometheus-client.
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
REQUEST_TIMEOUT = 5.0
"""How long a client may take over its request."""


def library() -> ModuleType:
    """prometheus-client. Raises `ConfigurationError` where it is not installed."""
    try:
        import prometheus_client  # noqa: PLC0415 - an extra, loaded when it is asked for
    except ModuleNotFoundError:
        raise ConfigurationError("metrics need prometheus-client: pip install 'sshaft[metrics]'") from None
    return prometheus_client


def new_registry(program: str) -> "CollectorRegistry":
    """With what is known of every program: its version and the process."""
    prometheus = library()
    registry: CollectorRegistry = prometheus.CollectorRegistry()
    build = prometheus.Gauge(f"sshaft_{program}_build_info", "Which version runs.", ["version"], registry=registry)
    build.labels(__version__).set(1)
    prometheus.ProcessCollector(registry=registry)
    return registry


def scrape(registry: "CollectorRegistry", accept: str) -> tuple[bytes, str]:
    """All metrics as the client wants them, and the media type."""
    library()
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - as above

    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class MetricsServer:
    """Answers `GET /metrics` on a socket that already listens, in threads of its own."""

    def __init__(self, listening: socket.socket, registry: "CollectorRegistry") -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_TIMEOUT
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
                """No access log."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Who hangs up is no event."""

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
    """Raises `ConfigurationError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(f"metrics: cannot listen on {host}:{port}: {error.strerror}") from error
