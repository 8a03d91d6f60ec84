"""Keeps database connections open between uses, because SQLAlchemy's pool takes longer than SQLite's answer."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

MAX_CONNECTIONS = 20
"""Connections of each kind at a time; the service has as many threads."""


CONNECTION_WAIT_SECONDS = 5


IsStale = Callable[[Any], bool]
"""Whether a driver's connection, idle for a while, was ended by the other side."""


class ConnectionCache:
    """Connections that stay with us from one use to the next: to take one out of SQLAlchemy's pool and to give it back
    takes longer than SQLite takes to answer.
    """

    def __init__(self, engine: Engine, is_stale: IsStale, **options: Any) -> None:
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._connect = engine.execution_options(**options).connect
        self._is_stale = is_stale
        self._idle: list[Connection] = []
        self._keeps = True

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        if not self._free.acquire(timeout=CONNECTION_WAIT_SECONDS):
            raise PoolTimeoutError("all connections to the database are in use")
        try:
            connection = self._take()
            try:
                yield connection
            except BaseException:
                connection.close()  # in whatever state it is
                raise
            if self._keeps:
                self._idle.append(connection)
            else:
                connection.close()
        finally:
            self._free.release()

    def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not self._is_stale(connection.connection.driver_connection):
                return connection
            connection.invalidate()
            connection.close()
        return self._connect()

    def dispose(self) -> None:
        self._keeps = False
        while self._idle:
            self._idle.pop().close()
