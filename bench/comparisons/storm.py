"""Measures a person's logins while bots offer a thousand unknown keys a second.

    .venv/bin/python -m bench.comparisons.storm [--rate 1000] [--seconds 20]

The keys go to the agent's socket, as from many sshds: one sshd could not take so many connections. The load generator
uses a part of the machine's two cores.
"""

import json
import statistics
import time

from bench.comparisons.report import Comparison, Table
from bench.load.trial import NOTHING, cpu_of, log_in, trial
from bench.progress import Figures, Measured, Rounds, run_alone, say
from sshaft_demo.parts import Sshd, free_port


def run(rate: float = 1000.0, seconds: float = 20.0) -> Rounds:
    with trial() as site:
        agent = site.agent("agent", login_path=NOTHING)
        sshd = Sshd(site.place, agent.runtime, free_port())

        def log_in_for(seconds: float) -> list[float]:
            end = time.monotonic() + seconds
            times: list[float] = []
            while time.monotonic() < end:
                times.append(log_in(sshd, site.keys[len(times) % len(site.keys)]))
            return times

        site.wait_for_everybody()
        log_in_for(2)
        say("  logins without bots")
        quiet = statistics.median(log_in_for(seconds))
        say(f"  logins with {rate:g} unknown keys a second")
        with cpu_of(agent.process, site.identity.process) as cpu:
            before, began = agent.status()["list_requests"], time.monotonic()
            with site.asking(agent, "--seconds", str(seconds + 2), "--rate", str(rate)) as bots:
                time.sleep(1)
                storm = statistics.median(log_in_for(seconds))
                answers = json.loads(bots.communicate()[0])
            lists, lasted = agent.status()["list_requests"] - before, time.monotonic() - began
    figures = {
        "login_ms": {"quiet": round(quiet * 1000, 1), "storm": round(storm * 1000, 1)},
        "times_slower": round(storm / quiet, 2),
        "unknown_keys": answers,
        "lists_a_second": round(lists / lasted, 1),
        "cores": {"agent": round(cpu[0] / lasted, 2), "identity service": round(cpu[1] / lasted, 2)},
    }
    yield Measured(1, 1, figures)


def table(figures: Figures) -> Table:
    times, strangers = figures["login_ms"], figures["unknown_keys"]
    return [
        ["", "without bots", "with bots"],
        ["a real login, ms", times["quiet"], times["storm"]],
        ["the same, as a ratio", 1, figures["times_slower"]],
        ["unknown keys answered a second", "", strangers["a_second"]],
        ["median time of these answers, ms", "", strangers["p50_ms"]],
        ["lists a second at the identity service", "", figures["lists_a_second"]],
        *([f"cores that the {part} uses", "", used] for part, used in figures["cores"].items()),
    ]


COMPARISON = Comparison(
    "a login while bots offer unknown keys",
    seconds=60,
    quick_seconds=20,
    whole=run,
    quick=lambda: run(1000, 4),
    table=table,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
