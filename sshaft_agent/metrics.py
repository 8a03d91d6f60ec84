"""Gives Prometheus the numbers of the running agent. No label names a user or a key."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sshaft.daemon import metrics
from sshaft_agent.agent import Agent
from sshaft_agent.observe import Observe
from sshaft_agent.ssh_factor.factor import Factor

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from sshaft_agent.host_login.host_login import HostLogin

_CALLS = (
    (
        "sshaft_agent_identity_call_seconds",
        "How long the identity service took to answer.",
        ("list", "accept", "reject", "approval_open", "approval_state", "approval_verify", "approval_end"),
    ),
    (
        "sshaft_agent_provider_call_seconds",
        "How long the OpenID Provider took for one step of a host login.",
        ("begin", "poll", "identify", "revoke", "recheck"),
    ),
)
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10)


def observer(registry: "CollectorRegistry") -> Observe:
    """Adds the histograms of calls to other services to a registry. Returns their observer."""
    seconds: dict[str, Any] = {}
    for name, text, calls in _CALLS:
        histogram = metrics.library().Histogram(name, text, ["call"], registry=registry, buckets=_BUCKETS)
        seconds |= {call: histogram.labels(call) for call in calls}
    return lambda call, taken: seconds[call].observe(taken)


class AgentCollector:
    """Reads plain numbers from another thread; neither waits for the event loop nor delays it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterable["Metric"]:
        metrics.library()
        from prometheus_client.core import CounterMetricFamily as Counter  # noqa: PLC0415 - an extra

        if self._agent.factor is not None:
            yield from _of_factor(self._agent.factor)
        if self._agent.host_login is not None:
            yield from _of_host_login(self._agent.host_login)
        refused = Counter("sshaft_agent_connections_refused", "Connections to our sockets.", labels=["reason"])
        for reason, count in ({"peer": 0, "busy": 0, "bad_message": 0} | dict(self._agent.refused())).items():
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
    outcomes = {"accepted": 0, "rejected": 0} | dict(factor.outcomes)
    yield _counts("sshaft_agent_logins", "SSH logins by how they ended.", "state", outcomes)


def _of_host_login(host_login: "HostLogin") -> Iterable["Metric"]:
    """Yields the numbers of host login."""
    from prometheus_client.core import GaugeMetricFamily as Gauge  # noqa: PLC0415 - an extra

    yield Gauge("sshaft_agent_host_logins_waiting", "Host logins that wait for a person.", host_login.waiting.count)
    asked = {"accepted": 0, "refused": 0, "unavailable": 0} | dict(host_login.account_phase.outcomes)
    names = {"reserved": 0, "full": 0} | dict(host_login.first_login.names)
    rechecks, answers = host_login.rounds.counts(), host_login.api.counts()
    yield _counts("sshaft_agent_host_logins", "Host logins by how they ended.", "state", host_login.ends())
    yield _counts("sshaft_agent_host_accounts", "Accounts that sshd asked about, by the answer.", "state", asked)
    yield _counts("sshaft_agent_host_rechecks", "Checks of people without a login, by the result.", "state", rechecks)
    yield _counts("sshaft_agent_host_names", "Names without an account, by the answer.", "answer", names)
    reports = host_login.reports
    yield _counts("sshaft_agent_host_reports", "Reports to the identity service.", "state", reports.outcomes)
    yield Gauge("sshaft_agent_host_remembered", "Remembered approvals in the last report.", reports.remembered_count)
    is_confirmed = "1 while reports succeed, so that remembered approvals count."
    yield Gauge("sshaft_agent_host_remembered_confirmed", is_confirmed, reports.is_confirmed_now())
    yield _counts(
        "sshaft_agent_host_api", "Questions of sshaft-host-api about people, by the answer.", "answer", answers
    )


def _counts(name: str, text: str, label: str, counts: Mapping[str, int]) -> "Metric":
    """Returns a counter with a value for each member of `counts`."""
    from prometheus_client.core import CounterMetricFamily as Counter  # noqa: PLC0415 - an extra

    counter = Counter(name, text, labels=[label])
    for value, count in counts.items():
        counter.add_metric([value], count)
    return counter
