"""Gives Prometheus the numbers of the running agent. No label names a user or a key."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sshaft.daemon import metrics
from sshaft_agent.agent import Agent
from sshaft_agent.ssh_factor.factor import Factor
from sshaft_agent.ssh_factor.lookup import Observe

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10)


def observer(registry: "CollectorRegistry") -> Observe:
    """Adds the histogram of calls to the identity service to a registry. Returns its observer."""
    seconds = metrics.library().Histogram(
        "sshaft_agent_identity_call_seconds",
        "How long the identity service took to answer.",
        ["call"],
        registry=registry,
        buckets=_BUCKETS,
    )
    for call in ("list", "accept", "reject"):
        seconds.labels(call)
    return lambda call, taken: seconds.labels(call).observe(taken)


class AgentCollector:
    """Reads plain numbers from another thread; neither waits for the event loop nor delays it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterable["Metric"]:
        metrics.library()
        from prometheus_client.core import CounterMetricFamily as Counter  # noqa: PLC0415 - an extra

        if self._agent.factor is not None:
            yield from _of_factor(self._agent.factor)
        refused = Counter("sshaft_agent_connections_refused", "Connections to our sockets.", labels=["reason"])
        for reason, count in ({"peer": 0, "busy": 0, "bad_message": 0} | dict(self._agent.server.refused)).items():
            refused.add_metric([reason], count)
        yield refused


def _of_factor(factor: Factor) -> Iterable["Metric"]:
    """Yields the numbers of the SSH factor."""
    from prometheus_client.core import CounterMetricFamily as Counter  # noqa: PLC0415 - an extra
    from prometheus_client.core import GaugeMetricFamily as Gauge  # noqa: PLC0415 - as above

    lookups = factor.lookups
    yield Counter("sshaft_agent_lookups", "Keys that sshd asked about.", lookups.count)
    yield Counter("sshaft_agent_list_requests", "Lists asked of the identity service.", lookups.list_requests)
    yield Counter("sshaft_agent_cache_hits", "Look-ups answered from memory.", lookups.cache_hits)
    yield Gauge("sshaft_agent_breaker_open", "1 while the service counts as down.", lookups.breaker.is_open)
    yield Gauge("sshaft_agent_open_logins", "SSH logins that have begun and not ended.", len(factor.logins))
    left = factor.client.access_tokens.seconds_left()
    yield Gauge("sshaft_agent_access_token_seconds_left", "0 where there is no token yet.", left or 0)
    logins = Counter("sshaft_agent_logins", "SSH logins by how they ended.", labels=["state"])
    for state, count in ({"accepted": 0, "rejected": 0} | dict(factor.outcomes)).items():
        logins.add_metric([state], count)
    yield logins
