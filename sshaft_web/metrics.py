"""Gives Prometheus the numbers of the running server. No label names a person, an account or an address."""

from collections import Counter as Counts
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sshaft.daemon import metrics
from sshaft_web import events
from sshaft_web.people.sessions import End, Sessions
from sshaft_web.terminals.terminals import Terminals

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_REASONS: dict[str, tuple[str, str, Iterable[str]]] = {
    "sign_outs": ("web.signed_out", "Sign-ins that have ended, by the reason.", End),
    "terminals_closed": ("terminal.closed", "Terminals that have ended, by the reason.", ("exited", "closed")),
    "terminals_refused": ("terminal.refused", "Terminals that were not begun, by the reason.", ("too_many_terminals",)),
}
"""By metric: the event, the text, and reasons that are there from the start."""
_DIRECTIONS = ("typed", "shown", "uploaded", "downloaded")


class WebCollector:
    """Reads plain numbers from another thread; neither waits for the event loop nor delays it."""

    def __init__(self, sessions: Sessions, terminals: Terminals) -> None:
        self._sessions = sessions
        self._terminals = terminals

    def collect(self) -> Iterable["Metric"]:
        metrics.library()
        from prometheus_client.core import CounterMetricFamily as Counter  # noqa: PLC0415 - an extra
        from prometheus_client.core import GaugeMetricFamily as Gauge  # noqa: PLC0415 - as above

        counts = dict(events.counts)
        yield Gauge("sshaft_web_sessions", "Browsers in which people are signed in.", len(list(self._sessions)))
        open_now = Counts(each.target.name for each in self._terminals)
        terminals = Gauge("sshaft_web_terminals", "Terminals that are open, by the host.", labels=["target"])
        for target in self._terminals.targets:
            terminals.add_metric([target], open_now[target])
        yield terminals
        yield Counter("sshaft_web_sign_ins", "People who have signed in.", counts.get(("web.signed_in", ""), 0))
        opened = counts.get(("terminal.opened", ""), 0)
        yield Counter("sshaft_web_terminals_opened", "Terminals whose shell was there.", opened)
        failed = counts.get(("recording.failed", ""), 0)
        yield Counter("sshaft_web_recordings_failed", "Recordings that a disk has ended.", failed)
        files = Counter("sshaft_web_files", "Files that went up, and answers to downloads.", labels=["direction"])
        for direction in ("uploaded", "downloaded"):
            files.add_metric([direction], counts.get((f"file.{direction}", ""), 0))
        yield files
        for name, (event, text, usual) in _REASONS.items():
            counter = Counter(f"sshaft_web_{name}", text, labels=["reason"])
            found = {reason: count for (each, reason), count in counts.items() if each == event}
            for reason, count in (dict.fromkeys(map(str, usual), 0) | found).items():
                counter.add_metric([reason], count)
            yield counter
        directions = Counter("sshaft_web_bytes", "Bytes of ended terminals, and of files.", labels=["direction"])
        for direction in _DIRECTIONS:
            directions.add_metric([direction], events.transferred[direction])
        yield directions
