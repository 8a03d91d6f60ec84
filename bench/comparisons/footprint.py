"""Measures what the agent and the identity service cost: memory at rest and after load, and CPU of a whole login.

The load is a million look-ups: half of them for a key with a pending challenge, half for keys that nobody has.

    .venv/bin/python -m bench.comparisons.footprint [--lookups 1000000]
"""

import statistics
from typing import Any

from bench.comparisons.report import Comparison, Table, new_chart
from bench.load.trial import Trial, cpu_of, log_in, memory_mb, trial
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft_demo.parts import Agent, Sshd, free_port

STEPS = 10
PARALLEL = 200


def run(lookups: int = 1_000_000) -> Rounds:
    with trial() as site:
        agent = site.agent()
        sshd = Sshd(site.place, agent.runtime, free_port())
        pids = {"agent": agent.process.pid, "identity service": site.identity.process.pid}
        memory = {name: {"at rest": memory_mb(pid)} for name, pid in pids.items()}
        cpu = [used for _ in range(3) for used in log_everybody_in(site, agent, sshd)]
        for name, pid in pids.items():
            memory[name][f"after {len(cpu)} logins"] = memory_mb(pid)
        asked = 0
        growth: list[list[float]] = []
        while asked < lookups:
            asked += look_up(site, agent, max(2.0, lookups / STEPS / 2 / 2500))
            now = {name: memory_mb(pid) for name, pid in pids.items()}
            growth = [*growth, [asked, now["agent"]]]
            figures = {
                "memory_mb": {name: memory[name] | {f"after {asked:,} look-ups": now[name]} for name in pids},
                "agent_memory_by_lookups": growth,
                "cpu_ms_a_login": {
                    name: round(statistics.mean(used[n] for used in cpu) * 1000, 2) for n, name in enumerate(pids)
                },
            }
            yield Measured(asked, lookups, figures, "look-ups")


def log_everybody_in(site: Trial, agent: Agent, sshd: Sshd) -> list[list[float]]:
    """Returns the CPU seconds of agent and identity service for each login."""
    logins = []
    for key, challenge in zip(site.keys, site.wait_for_everybody(), strict=True):
        with cpu_of(agent.process, site.identity.process) as used:
            log_in(sshd, key, challenge["code"])
        logins.append(used)
    return logins


def look_up(site: Trial, agent: Agent, seconds: float) -> int:
    """Returns the number of answers."""
    site.wait_for_everybody()
    type_, known = site.keys[0].with_suffix(".pub").read_text().split()[:2]
    load = ("--seconds", str(seconds), "--parallel", str(PARALLEL))
    return sum(site.ask(agent, *load, *key)["answered"] for key in (("--type", type_, "--key", known), ()))


def table(figures: Figures) -> Table:
    memory = figures["memory_mb"]
    moments = list(memory["agent"])
    rows = [[name, *own.values(), figures["cpu_ms_a_login"][name]] for name, own in memory.items()]
    return [["", *(f"memory {moment}, MB" for moment in moments), "CPU a login, ms"], *rows]


def plot(figures: Figures) -> Any:
    chart = new_chart("XY", "The agent's memory by look-ups, MB", range=(0, 60), show_legend=False)
    chart.add("", [tuple(point) for point in figures["agent_memory_by_lookups"]])
    return chart


COMPARISON = Comparison(
    "memory of the agent and the identity service at rest and after many look-ups",
    seconds=300,
    quick_seconds=40,
    whole=run,
    quick=lambda: run(20_000),
    table=table,
    plot=plot,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
