"""Makes HTTP exchanges that a hostile or broken server cannot prolong: whole answers in time, no redirects, no cookies.

The timeouts of requests bound the wait for one byte, so a server that sends byte after byte is never late. A watch
therefore shuts down the connection at the deadline of the exchange, while another thread reads from it.
"""

import math
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

import sshaft
from sshaft.deadline import Deadline
from sshaft.errors import ReachError, RemoteServiceError

MAX_ANSWER = 8 * 1024 * 1024
_CONNECT_SECONDS = 2.0
_MAX_IDLE = 80
"""Connections to one server that are kept: as many as the threads of the agent that may ask at a time."""
# identity: max_answer then bounds both the bytes on the wire and the bytes in memory
_HEADERS = {
    "User-Agent": f"sshaft/{sshaft.__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}

_thread = threading.local()


@dataclass(frozen=True)
class Answer:
    """A whole answer. `headers` has case-insensitive names; `body` is as the server sent it."""

    status: int
    headers: Any
    body: bytes


class HttpClient:
    """Keep-alive connections to one service. Safe for several threads. `peer` names the service in failures."""

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        proxy: str | None = None,
        certificate: tuple[Path, Path] | None = None,
        max_answer: int = MAX_ANSWER,
        peer: str = "remote",
    ) -> None:
        self._max_answer = max_answer
        self._peer = peer
        # An adapter without a session: a session would take a quarter of the CPU of a request, keep cookies, and follow
        # the environment. Proxy and CA come from the configuration only (DUO-PSA-2017-002).
        self._adapter = _Adapter(pool_connections=4, pool_maxsize=_MAX_IDLE)
        self._verify = str(ca_file) if ca_file else True
        self._proxies = {"http": proxy, "https": proxy} if proxy else None
        self._certificate = (str(certificate[0]), str(certificate[1])) if certificate else None

    def close(self) -> None:
        self._adapter.close()

    def send(self, method: str, url: str, deadline: Deadline, **request: Any) -> Answer:
        """Returns the answer if its status is below 500 and it is not a redirect.

        `request` holds arguments of `requests.Request`. Raises `ReachError` if there is no answer in time, or for a
        temporary failure (5xx, 429). Raises `RemoteServiceError` if the answer cannot be used (redirect, too large,
        certificate).
        """
        where = url.partition("?")[0]
        left = deadline.remaining()
        if not left:
            raise ReachError(f"{where}: no time left", peer=self._peer, unsent=True)
        exchange = _Exchange()
        _watch.add(exchange, deadline.at)
        _thread.exchange = exchange
        try:
            answer = self._exchange(method, url, left, request)
            if exchange.aborted:
                # Without a Content-Length, the connection's end that the watch made looks like the answer's end.
                raise ReachError(f"{where}: no whole answer in time", peer=self._peer)
        except requests.exceptions.SSLError as error:
            if exchange.aborted:
                raise ReachError(f"{where}: no whole answer in time", peer=self._peer) from error
            raise RemoteServiceError(f"{where}: TLS: {error}", self._peer) from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if exchange.aborted or isinstance(error, requests.exceptions.ReadTimeout):
                raise ReachError(f"{where}: no whole answer in time", peer=self._peer) from error
            raise ReachError(f"{where}: {_reason(error)}", peer=self._peer, unsent=_never_connected(error)) from error
        finally:
            _watch.remove(exchange)
            _thread.exchange = None
            exchange.close()
        if 300 <= answer.status < 400:
            raise RemoteServiceError(
                f"{where}: answered a redirect ({answer.status}); give the final address", self._peer
            )
        if answer.status >= 500 or (answer.status == 429 and not answer.body):
            # 503: the service, or a proxy, has not handled the request (RFC 9110 §15.6.4).
            raise ReachError(f"{where}: answered {answer.status}", peer=self._peer, unsent=answer.status == 503)
        return answer

    def _exchange(self, method: str, url: str, left: float, request: dict[str, Any]) -> Answer:
        request["headers"] = _HEADERS | request.get("headers", {})
        prepared = requests.Request(method, url, **request).prepare()
        response = self._adapter.send(
            prepared, stream=True, timeout=(min(_CONNECT_SECONDS, left), left), verify=self._verify,
            cert=self._certificate, proxies=self._proxies,
        )  # fmt: skip
        with response:
            body = b""
            while part := response.raw.read1(64 * 1024, decode_content=False):
                body += part
                if len(body) > self._max_answer:
                    raise RemoteServiceError(
                        f"{url.partition('?')[0]}: answer larger than {self._max_answer // 1024} KiB", self._peer
                    )
            return Answer(response.status_code, response.headers, body)


class _Exchange:
    """Duplicates (dup) of the sockets that one exchange uses, to shut the connections down.

    The original socket is not always reachable: TLS takes it over, and an answer without a length takes it from its
    connection. A duplicate reaches the same connection from the first byte of the handshake on.
    """

    def __init__(self) -> None:
        self.aborted = False
        self._duplicates: list[socket] = []
        self._lock = threading.Lock()

    def watch(self, descriptor: int) -> None:
        duplicate = socket(fileno=os.dup(descriptor))
        with self._lock:
            self._duplicates.append(duplicate)
            if self.aborted:
                _shut_down(duplicate)

    def abort(self) -> None:
        with self._lock:
            self.aborted = True
            for duplicate in self._duplicates:
                _shut_down(duplicate)

    def close(self) -> None:
        with self._lock:
            for duplicate in self._duplicates:
                duplicate.close()
            self._duplicates.clear()


class _Watch:
    """Aborts exchanges at their deadlines. One thread serves all of them: one thread for each would cost too much."""

    def __init__(self) -> None:
        self._ends: dict[_Exchange, float] = {}
        self._changed = threading.Condition()
        self._next_look = math.inf
        self._thread: threading.Thread | None = None

    def add(self, exchange: _Exchange, end: float) -> None:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                thread.start()  # raises if the system has no more threads
                self._thread = thread
            self._ends[exchange] = end
            if end < self._next_look:
                self._changed.notify()

    def remove(self, exchange: _Exchange) -> None:
        with self._changed:
            self._ends.pop(exchange, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for exchange in [each for each, end in self._ends.items() if end <= now]:
                    del self._ends[exchange]
                    exchange.abort()
                self._next_look = min(self._ends.values(), default=math.inf)
                self._changed.wait(None if self._next_look == math.inf else self._next_look - now)


_watch = _Watch()


def _shut_down(duplicate: socket) -> None:
    with suppress(OSError):  # the server has closed the connection already
        duplicate.shutdown(SHUT_RDWR)


class _Watched:
    """A connection that gives its socket to the exchange that uses it."""

    sock: socket | None

    def _new_conn(self) -> socket:
        connected: socket = super()._new_conn()  # type: ignore[misc]
        _watch_socket(connected)
        return connected

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # a connection that was kept alive
            _watch_socket(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


def _watch_socket(connected: socket) -> None:
    exchange: _Exchange | None = getattr(_thread, "exchange", None)
    if exchange is not None:
        exchange.watch(connected.fileno())


class _WatchedHTTP(_Watched, HTTPConnection):
    pass


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass


class _PoolHTTP(HTTPConnectionPool):
    ConnectionCls = _WatchedHTTP


class _PoolHTTPS(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPS


_POOLS = {"http": _PoolHTTP, "https": _PoolHTTPS}


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _never_connected(error: BaseException) -> bool:
    """Whether the connection itself failed, so that the request was not sent."""
    causes = [error, *getattr(error, "args", ())]
    causes += [getattr(cause, "reason", None) for cause in causes]
    refused = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return any(isinstance(cause, refused) for cause in causes)


def _reason(error: BaseException) -> str:
    """Returns the text of the innermost error: requests nests three errors for one refused connection."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
