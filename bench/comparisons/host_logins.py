"""Compares logins to a host through a real sshd: with pam_sshaft and the agent, and with pam_permit.

pam_permit is the limit. The provider approves each login at once, and an ssh without a terminal presses Enter.
`pam_permit again` measures the limit once more: its difference shows how exact the figures are.

    .venv/bin/python -m bench.comparisons.host_logins [--rounds 10] [--logins 40]
"""

import os
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.comparisons.report import Comparison, Table, new_chart, table_of
from bench.load.host_trial import HostTrial, host_trial
from bench.load.trial import cpu_of
from bench.progress import Figures, Measured, Rounds, run_alone, say
from sshaft_demo.host import HostSshd
from sshaft_demo.place import StartError

AT_ONCE = 8
LIMIT = "pam_permit"


@dataclass(frozen=True)
class Pass:
    """The figures of some logins. CPU is in milliseconds a login; the provider's is left out."""

    a_second: float
    sshd_ms: float
    agent_ms: float
    ssh_ms: float

    @property
    def server_ms(self) -> float:
        return self.sshd_ms + self.agent_ms

    @property
    def cpu_ms(self) -> float:
        return self.server_ms + self.ssh_ms


def cpu_with_children(pid: int) -> float:
    """Returns the CPU seconds of a process and of its descendants. It waits until the children have ended."""
    process = Path(f"/proc/{pid}")
    while (process / "task" / str(pid) / "children").read_text():
        time.sleep(0.01)
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def cpu_of_ended_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(trial: HostTrial, sshd: HostSshd, logins: int) -> Pass:
    """Returns the figures of a pass in which no login failed. Raises `StartError` if the second try fails too."""
    try:
        return _measure(trial, sshd, logins)
    except StartError as error:
        say(f"  this pass begins again: {error}")
        return _measure(trial, sshd, logins)


def _measure(trial: HostTrial, sshd: HostSshd, logins: int) -> Pass:
    before, ssh, began = cpu_with_children(sshd.process.pid), cpu_of_ended_children(), time.perf_counter()
    with cpu_of(trial.agent.process) as agent, ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(trial.log_in, [sshd] * logins))
        took = time.perf_counter() - began
    cpu = (cpu_with_children(sshd.process.pid) - before, agent[0], cpu_of_ended_children() - ssh)
    return Pass(logins / took, *(each / logins * 1000 for each in cpu))


def run(rounds: int = 10, logins: int = 40) -> Rounds:
    with host_trial() as trial:
        permit = trial.permitting_sshd()
        sshds = {LIMIT: permit, "pam_permit again": permit, "pam_sshaft": trial.sshd()}
        passes: dict[str, list[Pass]] = {name: [] for name in sshds}
        for sshd in sshds.values():
            measure(trial, sshd, AT_ONCE)  # caches and connections are warm afterwards
        for number in range(rounds):
            for name in list(sshds) if number % 2 else reversed(list(sshds)):
                passes[name].append(measure(trial, sshds[name], logins))
            yield Measured(number + 1, rounds, summary(passes))


def summary(passes: Mapping[str, Sequence[Pass]]) -> Figures:
    """Returns medians of all rounds. A ratio to the limit is the median of the ratios of each round."""
    figures: Figures = {}
    for name, own in passes.items():
        pairs = list(zip(own, passes[LIMIT], strict=True))
        figures[name] = {
            "a_second": round(statistics.median(each.a_second for each in own), 1),
            "of_the_limit": round(statistics.median(each.a_second / limit.a_second for each, limit in pairs), 3),
            "sshd_ms": round(statistics.median(each.sshd_ms for each in own), 1),
            "agent_ms": round(statistics.median(each.agent_ms for each in own), 1),
            "ssh_ms": round(statistics.median(each.ssh_ms for each in own), 1),
            "by_server_cpu": round(statistics.median(limit.server_ms / each.server_ms for each, limit in pairs), 3),
            "by_cpu": round(statistics.median(limit.cpu_ms / each.cpu_ms for each, limit in pairs), 3),
        }
    return figures


def table(figures: Figures) -> Table:
    columns = {
        "a_second": "logins a second",
        "of_the_limit": "share of the limit",
        "sshd_ms": "sshd's CPU a login, ms",
        "agent_ms": "agent's CPU, ms",
        "ssh_ms": "ssh's CPU, ms",
        "by_cpu": "share of the limit by CPU",
        "by_server_cpu": "the same without ssh",
    }
    return table_of("auth by", columns, figures)


def plot(figures: Figures) -> Any:
    chart = new_chart("HorizontalStackedBar", "CPU of a login to a host, ms")
    chart.x_labels = list(reversed(figures))
    for part in ("sshd", "agent", "ssh"):
        chart.add(part, [each[f"{part}_ms"] for each in reversed(figures.values())])
    return chart


COMPARISON = Comparison(
    "logins to a host through a real sshd: with pam_sshaft and with pam_permit",
    seconds=180,
    quick_seconds=20,
    whole=run,
    quick=lambda: run(1, 8),
    table=table,
    plot=plot,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
