"""Counts requests and audit events for Prometheus, and reads the state of the database at each scrape.
No path, user or token is ever a label.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from sshaft.daemon import metrics
from sshaft_identity.approvals import rows as approval_rows
from sshaft_identity.audit import chain
from sshaft_identity.challenges.rows import is_running, is_unsettled
from sshaft_identity.common.times import Clock
from sshaft_identity.database.tables import approvals, challenges
from sshaft_identity.host_logins.listing import count_logins, count_silent_hosts
from sshaft_identity.store import Store

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds. A long poll takes up to 30 seconds, so compare the routes, not their sum."""


class Metrics:
    """Raises `ConfigurationError` if prometheus-client is not installed."""

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
            buckets=_BUCKETS,
        )
        self._open = prometheus.Gauge(
            "sshaft_identity_http_requests_in_progress",
            "Requests that wait for their answer: pages and long polls above all.",
            ["route"],
            registry=self.registry,
        )
        self.registry.register(DatabaseCollector(store, clock))

    def count_events(self, sealed: Mapping[str, int]) -> None:
        """Counts the events that this process sealed. One process of all seals each event, once."""
        for event, count in sealed.items():
            self._events.labels(event).inc(count)

    def request_began(self, route: str) -> None:
        self._open.labels(route).inc()

    def request_ended(self, route: str, method: str, status: int, seconds: float) -> None:
        self._open.labels(route).dec()
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, f"{status // 100}xx").inc()
        self._seconds.labels(route).observe(seconds)


class DatabaseCollector:
    """Reads the database at each scrape. If the database fails, the only metric is `database_up` with 0."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def describe(self) -> Iterable["Metric"]:
        """Returns nothing, so that the registration does not read the database."""
        return []

    def collect(self) -> Iterable["Metric"]:
        metrics.library()
        from prometheus_client.core import GaugeMetricFamily as Gauge  # noqa: PLC0415 - an extra

        running = select(func.count()).select_from(challenges).where(is_unsettled, is_running)
        is_open = approval_rows.is_open & approval_rows.is_running(self._clock())
        open_approvals = select(func.count()).select_from(approvals).where(is_open)
        try:
            with self._store.database.read() as connection:
                waiting = connection.scalar(running, {"now": self._clock()}) or 0
                of_hosts = connection.scalar(open_approvals) or 0
                unsealed = chain.count_unsealed(connection)
                head = chain.head_of(connection)
                at_hosts = count_logins(connection)
                silent = count_silent_hosts(connection, self._clock())
        except SQLAlchemyError:
            yield Gauge("sshaft_identity_database_up", "Whether the database answers.", 0)
            return
        yield Gauge("sshaft_identity_database_up", "Whether the database answers.", 1)
        yield Gauge("sshaft_identity_pending_challenges", "Web logins that wait for an SSH login.", waiting)
        yield Gauge("sshaft_identity_open_approvals", "SSH logins at hosts that wait for their person.", of_hosts)
        yield Gauge("sshaft_identity_unsealed_audit_events", "Audit events not in the chain yet.", unsealed)
        yield Gauge("sshaft_identity_audit_sequence", "The last event of the audit chain.", head.seq)
        logins = Gauge(
            "sshaft_identity_host_logins", "Logins of known people at hosts, as the hosts report.", labels=["kind"]
        )
        for kind, count in at_hosts.items():
            logins.add_metric([kind], count)
        yield logins
        yield Gauge("sshaft_identity_silent_hosts", "Hosts that no longer report who is logged in.", silent)
