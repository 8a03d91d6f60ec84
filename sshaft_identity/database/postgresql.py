"""Connects to PostgreSQL by psycopg 3, with limits so that no request waits forever."""

import select
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

_DRIVER = "postgresql+psycopg"
POOL_SIZE = 40
"""Two for each thread that answers API requests (`service.app`), and more for the pages."""
POOL_TIMEOUT_SECONDS = 5

_CONNECT_TIMEOUT_SECONDS = 5
_LOCK_TIMEOUT_SECONDS = 5
_STATEMENT_TIMEOUT_SECONDS = 10
_ANSWER_TIMEOUT_SECONDS = 15
"""A server that is silent for longer is given up: it would at least report that a statement took too long."""

Value = TypeVar("Value")


class _BoundedConnection(psycopg.Connection[Any]):
    """Closes itself when no answer comes: a stopped server or a dead line would block its thread forever."""

    def wait(self, gen: PQGen[Value], interval: float = 0.1, timeout: float | None = None) -> Value:
        try:
            return super().wait(gen, interval, _ANSWER_TIMEOUT_SECONDS if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def new_engine(url: URL, *, patient: bool) -> Engine:
    """Returns an engine. `patient`: without limits on statements, for work of minutes (a migration, a copy)."""
    engine = create_engine(
        _complete(url, patient=patient),
        hide_parameters=True,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_use_lifo=True,
    )
    if not patient:
        event.listen(engine, "do_connect", _connect_bounded)
    event.listen(engine, "checkout", _refuse_stale)
    return engine


def _complete(url: URL, *, patient: bool) -> URL:
    """Adds the options that the URL does not set (https://www.postgresql.org/docs/current/libpq-connect.html)."""
    ours = {
        "application_name": "sshaft-identity",
        "connect_timeout": str(_CONNECT_TIMEOUT_SECONDS),
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": str(_ANSWER_TIMEOUT_SECONDS * 1000),
    }
    if not patient:
        limits = f"-c lock_timeout={_LOCK_TIMEOUT_SECONDS}s -c statement_timeout={_STATEMENT_TIMEOUT_SECONDS}s"
        ours["options"] = f"{limits} {url.query.get('options', '')}".rstrip()
    theirs = {name: value for name, value in url.query.items() if name != "options" or patient}
    return url.set(drivername=_DRIVER, query={**ours, **theirs})


def _connect_bounded(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    return _BoundedConnection.connect(*arguments, **options)


def _refuse_stale(connection: psycopg.Connection[Any], _record: Any, _proxy: Any) -> None:
    """Makes the pool replace a connection that the server has ended: only that one has something to read."""
    if connection.closed:
        raise DisconnectionError
    poll = select.poll()  # the socket answers without a round trip
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError
