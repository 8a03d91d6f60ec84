"""A network that a test can cut: forwards TCP connections on loopback to another port."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """Listens on `port` and forwards to `target`, unless the network is cut."""

    def __init__(self, listening: socket.socket) -> None:
        self.target = 0
        self.port: int = listening.getsockname()[1]
        self.connections = 0
        """How many connections were forwarded."""
        self._listening = listening
        self._open: set[socket.socket] = set()
        self._is_cut = False

    def cut(self) -> None:
        """Ends all connections, and lets no new one through."""
        self._is_cut = True
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:  # the test is over
                return
            if self._is_cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.target), timeout=10)
            far.settimeout(None)
            self.connections += 1
            for source, sink in ((near, far), (far, near)):
                self._open.add(source)
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()


@contextmanager
def relay() -> Iterator[Relay]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = Relay(listening)
        threading.Thread(target=running.accept, daemon=True).start()
        yield running
        running.cut()
        listening.shutdown(socket.SHUT_RDWR)
