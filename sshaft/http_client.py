"""One HTTP exchange with a hostile or broken server in mind: whole within its deadline, small, no redirect, no cookie.

requests' own timeouts bound one wait for one byte; a server that drips would never be late. So a watch shuts the
connection down, at the end of an exchange's time, under whoever is reading from it.
"""

import math
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
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
CONNECT_SECONDS = 2.0

_thread = threading.local()


@dataclass(frozen=True)
class Answer:
    """A whole answer: `headers` with case-insensitive names, `body` as sent."""

    status: int
    headers: Any
    body: bytes


class HttpClient:
    """Keep-alive connections to the identity service, for several threads at once."""

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
        self._session = requests.Session()
        self._session.trust_env = False  # proxy and CA come from the configuration only (DUO-PSA-2017-002)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.verify = str(ca_file) if ca_file else True
        if proxy:
            self._session.proxies = {"http": proxy, "https": proxy}
        if certificate:
            self._session.cert = (str(certificate[0]), str(certificate[1]))
        adapter = _Adapter(pool_connections=4, pool_maxsize=32)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        # identity: what is counted against max_answer is what was sent, not what it inflates to
        self._session.headers.update(
            {"User-Agent": f"sshaft/{sshaft.__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}
        )

    def close(self) -> None:
        self._session.close()

    def send(self, method: str, url: str, deadline: Deadline, **request: Any) -> Answer:
        """The answer, whatever its status below 500 but a redirect.

        Raises `ReachError` when there is none in time or the server has a passing trouble (5xx, 429), and
        `RemoteServiceError` when it can't be used (redirect, too large, certificate).
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
                # without a Content-Length the end that our watch made looks like the end of the answer
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
            # 503: a proxy or the service itself says that it has not even looked at the request (RFC 9110 §15.6.4)
            raise ReachError(f"{where}: answered {answer.status}", peer=self._peer, unsent=answer.status == 503)
        return answer

    def _exchange(self, method: str, url: str, left: float, request: dict[str, Any]) -> Answer:
        response = self._session.request(
            method, url, stream=True, allow_redirects=False, timeout=(min(CONNECT_SECONDS, left), left), **request
        )
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
    """Twins (dup) of the sockets that one exchange uses, so that they can be shut down.

    Twins, because TLS takes the socket over and an answer without a length takes it away from its connection; a twin
    reaches what stands behind both, from the first byte of the handshake on.
    """

    def __init__(self) -> None:
        self.aborted = False
        self._twins: list[socket] = []
        self._lock = threading.Lock()

    def watch(self, descriptor: int) -> None:
        twin = socket(fileno=os.dup(descriptor))
        with self._lock:
            self._twins.append(twin)
            if self.aborted:
                _shut_down(twin)

    def abort(self) -> None:
        with self._lock:
            self.aborted = True
            for twin in self._twins:
                _shut_down(twin)

    def close(self) -> None:
        with self._lock:
            for twin in self._twins:
                twin.close()
            self._twins.clear()


class _Watch:
    """Aborts exchanges when their time is up: one thread for all of them, starting one for each is dear."""

    def __init__(self) -> None:
        self._ends: dict[_Exchange, float] = {}
        self._changed = threading.Condition()
        self._looks_at = math.inf
        self._thread: threading.Thread | None = None

    def add(self, exchange: _Exchange, end: float) -> None:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                thread.start()  # raises where the system gives no more of them
                self._thread = thread
            self._ends[exchange] = end
            if end < self._looks_at:
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
                self._looks_at = min(self._ends.values(), default=math.inf)
                self._changed.wait(None if self._looks_at == math.inf else self._looks_at - now)


_watch = _Watch()


def _shut_down(twin: socket) -> None:
    with suppress(OSError):  # the other side was faster
        twin.shutdown(SHUT_RDWR)


class _Watched:
    """A connection that shows its socket to the exchange that uses it."""

    sock: socket | None

    def _new_conn(self) -> socket:
        connected: socket = super()._new_conn()  # type: ignore[misc]
        _show(connected)
        return connected

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # a connection that was kept alive
            _show(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


def _show(connected: socket) -> None:
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
    """Whether the request cannot have left: the connection itself failed."""
    causes = [error, *getattr(error, "args", ())]
    causes += [getattr(cause, "reason", None) for cause in causes]
    refused = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return any(isinstance(cause, refused) for cause in causes)


def _reason(error: BaseException) -> str:
    """The innermost text: requests nests three errors for one refused connection."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
