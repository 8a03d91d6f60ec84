"""The agent in numbers, for Prometheus: read from the running agent when somebody asks. No user or key is a label."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sshaft import metrics
from sshaft_agent.server import Server

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10)


def registry_of(server: Server) -> "CollectorRegistry":
    """Everything about this agent. Raises `ConfigurationError` without prometheus-client."""
    registry = metrics.new_registry("agent")
    seconds = metrics.library().Histogram(
        "sshaft_agent_identity_call_seconds",
        "How long the identity service took to answer.",
        ["call"],
        registry=registry,
        buckets=BUCKETS,
    )
    for call in ("list", "accept", "reject"):
        seconds.labels(call)

    def observe(call: str, taken: float) -> None:
        seconds.labels(call).observe(taken)

    server.factor.lookups.observe = observe
    registry.register(AgentCollector(server))
    return registry


class AgentCollector:
    """Reads plain numbers from another thread; nothing here waits for the event loop or holds it up."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def collect(self) -> Iterable["Metric"]:
        metrics.library()
        from prometheus_client.core import CounterMetricFamily as Counter  # noqa: PLC0415 - an extra
        from prometheus_client.core import GaugeMetricFamily as Gauge  # noqa: PLC0415 - as above

        factor = self._server.factor
        lookups = factor.lookups
        yield Counter("sshaft_agent_lookups", "Keys that sshd asked about.", lookups.asked)
        yield Counter("sshaft_agent_list_requests", "Lists asked of the identity service.", lookups.calls)
        yield Counter("sshaft_agent_cache_hits", "Look-ups answered from memory.", lookups.remembered)
        yield Gauge("sshaft_agent_breaker_open", "1 while the service counts as down.", lookups.breaker.is_open)
        yield Gauge("sshaft_agent_tickets", "Tickets that are out.", len(factor.tickets))
        left = factor.client.access_tokens.seconds_left()
        yield Gauge("sshaft_agent_access_token_seconds_left", "0 where there is no token yet.", left or 0)
        logins = Counter("sshaft_agent_logins", "SSH logins by how they ended.", labels=["state"])
        for state, count in ({"accepted": 0, "rejected": 0} | dict(factor.outcomes)).items():
            logins.add_metric([state], count)
        yield logins
        refused = Counter("sshaft_agent_connections_refused", "Connections to our sockets.", labels=["reason"])
        for reason, count in ({"peer": 0, "busy": 0, "bad_message": 0} | dict(self._server.refused)).items():
            refused.add_metric([reason], count)
        yield refused
