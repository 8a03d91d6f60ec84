"""PostgreSQL, by psycopg 3: how it is connected to, and the limits that keep a request from waiting for ever."""

import select
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

DRIVER = "postgresql+psycopg"
POOL_SIZE = 40
"""Two for each thread that answers requests (`server`), one that reads and one that writes: nobody waits for one."""
POOL_TIMEOUT_SECONDS = 5

CONNECT_TIMEOUT_SECONDS = 5
LOCK_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_SECONDS = 10
ANSWER_TIMEOUT_SECONDS = 15
"""Seconds until a server that says nothing, not even that a statement took too long, is given up."""

Value = TypeVar("Value")


class _BoundedConnection(psycopg.Connection[Any]):
    """One that is closed when no answer comes: a stopped server or a dead line would hold its thread for ever."""

    def wait(self, gen: PQGen[Value], interval: float = 0.1, timeout: float | None = None) -> Value:
        try:
            return super().wait(gen, interval, ANSWER_TIMEOUT_SECONDS if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def new_engine(url: URL, *, patient: bool) -> Engine:
    """`patient`: without the limits on statements, for what may take minutes (a migration, a copy)."""
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
    """With what the URL leaves open (https://www.postgresql.org/docs/current/libpq-connect.html)."""
    ours = {
        "application_name": "sshaft-identity",
        "connect_timeout": str(CONNECT_TIMEOUT_SECONDS),
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": str(ANSWER_TIMEOUT_SECONDS * 1000),
    }
    if not patient:
        limits = f"-c lock_timeout={LOCK_TIMEOUT_SECONDS}s -c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s"
        ours["options"] = f"{limits} {url.query.get('options', '')}".rstrip()
    theirs = {name: value for name, value in url.query.items() if name != "options" or patient}
    return url.set(drivername=DRIVER, query={**ours, **theirs})


def _connect_bounded(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    return _BoundedConnection.connect(*arguments, **options)


def _refuse_stale(connection: psycopg.Connection[Any], _record: Any, _proxy: Any) -> None:
    """The pool then makes a new one."""
    if is_stale(connection):
        raise DisconnectionError


def is_stale(connection: psycopg.Connection[Any]) -> bool:
    """An idle connection has nothing to read unless the server has ended it: asking the socket costs no round trip, so
    the first request after a restart of PostgreSQL does not fail.
    """
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
