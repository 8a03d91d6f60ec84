"""The identity service in numbers, for Prometheus: requests as they are answered, audit events as they are sealed, and
the state of the database when somebody asks. No path, user or token is ever a label.
"""

import hmac
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sshaft import metrics
from sshaft.errors import ConfigurationError
from sshaft_identity.audit import chain
from sshaft_identity.challenges.rows import is_running, is_unsettled
from sshaft_identity.common.times import Clock
from sshaft_identity.database.tables import challenges
from sshaft_identity.store import Store
from sshaft_identity.web.problem import problem

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

NO_ROUTE = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds. Those who wait for a challenge stay for 30, so look at them by route."""
MIN_TOKEN = 16


class Metrics:
    """Needs prometheus-client: raises `ConfigurationError` without it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        prometheus = metrics.library()
        self.registry: CollectorRegistry = metrics.new_registry("identity")
        self._events = prometheus.Counter(
            "sshaft_identity_events", "Audit events, counted as they are sealed.", ["event"], registry=self.registry
        )
        self._requests = prometheus.Counter(
            "sshaft_identity_http_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = prometheus.Histogram(
            "sshaft_identity_http_request_seconds",
            "How long answers took.",
            ["route"],
            registry=self.registry,
            buckets=BUCKETS,
        )
        self._open = prometheus.Gauge(
            "sshaft_identity_http_requests_in_progress",
            "Requests that wait for their answer: pages and long polls above all.",
            ["route"],
            registry=self.registry,
        )
        self.registry.register(DatabaseCollector(store, clock))

    def count_events(self, sealed: Mapping[str, int]) -> None:
        """What `audit_chain` hears of: every event of every process is sealed once, by one of them."""
        for event, count in sealed.items():
            self._events.labels(event).inc(count)

    def began(self, route: str) -> None:
        self._open.labels(route).inc()

    def ended(self, route: str, method: str, status: int, seconds: float) -> None:
        self._open.labels(route).dec()
        known = method if method in METHODS else "other"
        self._requests.labels(route, known, f"{status // 100}xx").inc()
        self._seconds.labels(route).observe(seconds)


class DatabaseCollector:
    """What only the database knows, asked at each scrape. While it is away there is one number: 0."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def describe(self) -> Iterable["Metric"]:
        """Nothing is asked while it is registered."""
        return []

    def collect(self) -> Iterable["Metric"]:
        metrics.library()
        from prometheus_client.core import GaugeMetricFamily as Gauge  # noqa: PLC0415 - an extra

        running = select(func.count()).select_from(challenges).where(is_unsettled, is_running)
        try:
            with self._store.database.read() as connection:
                waiting = connection.scalar(running, {"now": self._clock()}) or 0
                unsealed = chain.count_unsealed(connection)
                head = chain.head_of(connection)
        except SQLAlchemyError:
            yield Gauge("sshaft_identity_database_up", "Whether the database answers.", 0)
            return
        yield Gauge("sshaft_identity_database_up", "Whether the database answers.", 1)
        yield Gauge("sshaft_identity_pending_challenges", "Web logins that wait for an SSH login.", waiting)
        yield Gauge("sshaft_identity_unsealed_audit_events", "Audit events not in the chain yet.", unsealed)
        yield Gauge("sshaft_identity_audit_sequence", "The last event of the audit chain.", head.seq)


class Measured:
    """Middleware: every request counts under the template of its route, and nothing else of its path."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: list[BaseRoute]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route, started, status = route_of(scope, self._routes), time.monotonic(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.began(route)
        try:
            await self._app(scope, receive, note_status)
        finally:
            self._metrics.ended(route, scope["method"], status, time.monotonic() - started)


def route_of(scope: Scope, routes: list[BaseRoute]) -> str:
    for route in routes:
        if route.matches(scope)[0] is not Match.NONE:
            return str(getattr(route, "path", NO_ROUTE))
    return NO_ROUTE


def route(metrics_: Metrics, token: str) -> Route:
    """`/metrics` on the main port, for whoever has the token."""

    async def answer(request: Request) -> Response:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), token.encode())
        if kind.lower() != "bearer" or not right:
            return problem("invalid_token", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        accept = request.headers.get("accept", "")
        body, media_type = await run_in_threadpool(metrics.scrape, metrics_.registry, accept)
        return Response(body, headers={"Content-Type": media_type})

    return Route(metrics.PATH, answer, methods=["GET"])


def read_token(path: Path) -> str:
    """The token in the file. Raises `ConfigurationError` for none, or one that could be guessed."""
    try:
        token = path.read_text().strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'no text'}") from error
    if len(token) < MIN_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigurationError(f"{path} must hold one token of {MIN_TOKEN} characters or more: openssl rand -hex 16")
    return token
