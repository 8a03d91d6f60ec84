"""Compares one call of the keys command, as sshd starts it: wall time, CPU of the process, CPU of the agent.

The other commands are /bin/true, curl with one request over TLS, and the original's command with two requests over TLS.

    .venv/bin/python -m bench.comparisons.calls [--calls 200]
"""

import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import requests

from bench.comparisons.report import Comparison, Table, new_chart, table_of
from bench.load.trial import NOTHING, Trial, cpu_of, tls_in_front, trial
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft.public_key import parse
from sshaft_demo.place import KEYS, NATIVE

CALLS = 10
"""Calls of each command in a round."""


def commands(site: Trial, agent_socket: Path, config: Path) -> dict[str, list[str]]:
    key = parse(site.keys[0].with_suffix(".pub").read_text())
    question = ["--fingerprint", key.fingerprint, "--type", key.type, "--key", str(key).split()[1]]
    settings = json.loads(config.read_text())
    form = {"grant_type": "client_credentials", "scope": settings["token_scope"],
            "client_id": settings["client_id"], "client_secret": settings["client_secret"]}  # fmt: skip
    token = requests.post(settings["token_endpoint"], data=form, verify=settings["ca_file"], timeout=10).json()
    return {
        "/bin/true": [NOTHING],
        "native": [str(site.place.libexec / NATIVE.name), "--agent", str(agent_socket), *question],
        "python": [str(site.place.libexec / "sshaft-keys"), "--agent", str(agent_socket), *question],
        "stand-alone": [str(site.place.libexec / "sshaft-keys"), "--config", str(config), *question],
        "curl": ["/usr/bin/curl", "-sSf", "--cacert", settings["ca_file"], "-o", "/dev/null", "-H",
                 f"Authorization: Bearer {token['access_token']}", settings["mfa_list_endpoint"]],
        "original": site.original(config),
    }  # fmt: skip


def run(calls: int = 200) -> Rounds:
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    agent_seconds: dict[str, float] = defaultdict(float)
    with trial() as site, tls_in_front(site) as write_config:
        site.wait_for_everybody()
        agent = site.agent()
        words = commands(site, agent.runtime / "keys" / "agent.sock", write_config("secure", login_path=NOTHING))
        with site.place.popen(
            [Path(sys.executable).resolve(), "-IS", site.copied("timed_starts.py")],
            account=KEYS, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as starter:  # fmt: skip
            for number in range(calls // CALLS):
                for name, command in words.items():
                    with cpu_of(agent.process) as used:
                        times[name] += start(starter, command)
                    agent_seconds[name] += used[0]
                yield Measured(number + 1, calls // CALLS, summary(times, agent_seconds))


def start(starter: "subprocess.Popen[bytes]", command: list[str]) -> list[tuple[float, float]]:
    """Returns wall seconds and CPU seconds of CALLS calls that `timed_starts.py` makes."""
    assert starter.stdin
    assert starter.stdout
    starter.stdin.write(json.dumps([CALLS, command]).encode() + b"\n")
    starter.stdin.flush()
    times: list[tuple[float, float]] = json.loads(starter.stdout.readline())
    return times


def summary(times: dict[str, list[tuple[float, float]]], agent_seconds: dict[str, float]) -> Figures:
    """Returns milliseconds a call: wall time is a median, CPU time a mean."""
    wall = {name: statistics.median(each[0] for each in calls) * 1000 for name, calls in times.items()}
    cpu = {name: statistics.mean(each[1] for each in calls) * 1000 for name, calls in times.items()}
    agent = {name: agent_seconds[name] / len(calls) * 1000 for name, calls in times.items()}
    return {
        name: {
            "wall_ms": round(wall[name], 2),
            "more_than_true_ms": round(wall[name] - wall["/bin/true"], 2),
            "cpu_ms": round(cpu[name], 2),
            "agent_cpu_ms": round(agent[name], 2),
            "times_less_cpu_than_original": round(cpu["original"] / (cpu[name] + agent[name]), 1),
        }
        for name in times
    }


def table(figures: Figures) -> Table:
    columns = {
        "wall_ms": "wall time, ms",
        "more_than_true_ms": "above /bin/true, ms",
        "cpu_ms": "CPU, ms",
        "agent_cpu_ms": "agent's CPU, ms",
        "times_less_cpu_than_original": "times less CPU than the original",
    }
    return table_of("command", columns, figures)


def plot(figures: Figures) -> Any:
    title = "One keys call, milliseconds (logarithmic)"
    chart = new_chart("HorizontalBar", title, logarithmic=True, zero=0.5)
    chart.y_labels = [0.5, 1, 2, 5, 10, 20, 50, 100, 200]
    chart.x_labels = list(reversed(figures))
    chart.add("wall time", [each["wall_ms"] for each in reversed(figures.values())])
    chart.add("CPU and agent's CPU", [each["cpu_ms"] + each["agent_cpu_ms"] for each in reversed(figures.values())])
    return chart


COMPARISON = Comparison(
    "one call of the keys command, as sshd starts it",
    seconds=90,
    quick_seconds=20,
    whole=run,
    quick=lambda: run(20),
    table=table,
    plot=plot,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
