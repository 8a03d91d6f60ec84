"""Measures the agent while many logins to a host wait for their approval, and what another person notices of them.

The logins come to the agent's socket, as from many sshds. The provider wants to be asked every five seconds for each of
them. A poll is late by what lies between it and the poll before, less these seconds. The other person logs in by a real
ssh, and is approved at once. `away`: the milliseconds that the provider waits before each answer.

    .venv/bin/python -m bench.comparisons.host_pending [--pending 1000] [--seconds 20] [--rounds 3] [--away 0,100]
"""

import resource
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from bench.comparisons.report import Comparison, Table, table_of
from bench.load.host_trial import HostTrial, host_trial
from bench.load.identity_service import resident_mb
from bench.load.trial import cpu_of
from bench.progress import Figures, Measured, Rounds, run_alone, say
from sshaft import messages
from sshaft_demo.host import HostSshd
from sshaft_demo.place import StartError

AT_ONCE = 10
"""Logins that begin at the same time."""


def begin(trial: HostTrial, stack: ExitStack, number: int) -> socket.socket:
    """Begins a login as pam_sshaft does, from an address of its own."""
    connection = stack.enter_context(socket.socket(socket.AF_UNIX))
    connection.settimeout(60)
    connection.connect(str(trial.socket))
    address = f"10.0.{number // 250}.{number % 250 + 1}"
    question = {"user": trial.place.person, "service": "sshd", "rhost": address, "tty": "ssh", "timeout": "3600"}
    connection.sendall(messages.encode("login", question))
    return connection


def wait_for_prompt(connection: socket.socket) -> None:
    read = b""
    while not (read.endswith(messages.END) and b" prompt\n" in read):
        part = connection.recv(messages.MAX_MESSAGE)
        assert part, "the agent ended a login"
        read += part


@contextmanager
def waiting(trial: HostTrial, count: int) -> Iterator[None]:
    """Keeps `count` logins that nobody approves."""
    with ExitStack() as stack:
        with trial.provider.approving_nobody():
            for first in range(0, count, AT_ONCE):
                connections = [begin(trial, stack, n) for n in range(first, min(first + AT_ONCE, count))]
                for connection in connections:
                    wait_for_prompt(connection)
        yield
    while trial.agent.status()["host_logins_waiting"]:
        time.sleep(0.1)


def measure(trial: HostTrial, sshd: HostSshd, seconds: float) -> dict[str, list[float]]:
    """Lets a person log in again and again. Returns lists, so that those of several rounds can be joined."""
    trial.provider.late()
    began, times = time.monotonic(), []
    with cpu_of(trial.agent.process) as used:
        while time.monotonic() < began + seconds:
            try:
                times.append(trial.log_in(sshd) * 1000)
            except StartError as error:
                say(f"  not counted: {error}")
        lasted, late = time.monotonic() - began, [each * 1000 for each in trial.provider.late()]
    memory = resident_mb(trial.agent.process.pid)
    return {"login": times, "late": late, "memory": [memory], "lasted": [lasted], "cpu": [used[0]]}


def run(pending: int = 1000, seconds: float = 20.0, rounds: int = 3, away: tuple[int, ...] = (0, 100)) -> Rounds:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found: dict[tuple[int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        trials = {distance: stack.enter_context(host_trial(distance / 1000)) for distance in away}
        sshds = {distance: trial.sshd() for distance, trial in trials.items()}
        for number in range(rounds):
            for distance, trial in trials.items():
                trial.log_in(sshds[distance])
                for count in (0, pending):
                    with waiting(trial, count):
                        for key, values in measure(trial, sshds[distance], seconds).items():
                            found[distance, count][key] += values
            yield Measured(number + 1, rounds, figures_of(found))


def figures_of(found: Mapping[tuple[int, int], Mapping[str, list[float]]]) -> Figures:
    return {
        f"{count:,}{f', provider {distance} ms away' if distance else ''}": summary(own, found[distance, 0])
        for (distance, count), own in found.items()
    }


def summary(own: Mapping[str, list[float]], quiet: Mapping[str, list[float]]) -> dict[str, float | str]:
    late, logins = sorted(own["late"]), sorted(own["login"])
    return {
        "memory_mb": round(max(own["memory"]) if late else own["memory"][0], 1),  # the agent keeps what it has had
        "cores": round(sum(own["cpu"]) / sum(own["lasted"]), 2),
        "polls_a_second": round(len(late) / sum(own["lasted"])),
        "late_p50_ms": round(statistics.median(late)) if late else "",
        "late_p99_ms": round(late[int(len(late) * 0.99)]) if late else "",
        "login_p50_ms": round(statistics.median(logins)),
        "login_p95_ms": round(logins[int(len(logins) * 0.95)]),
        "times_slower": round(statistics.median(logins) / statistics.median(quiet["login"]), 2),
    }


def table(figures: Figures) -> Table:
    columns = {
        "memory_mb": "agent's memory, MB",
        "cores": "cores that the agent uses",
        "polls_a_second": "polls a second",
        "late_p50_ms": "late: p50, ms",
        "late_p99_ms": "late: p99, ms",
        "login_p50_ms": "another login: p50, ms",
        "login_p95_ms": "p95, ms",
        "times_slower": "times slower",
    }
    return table_of("logins that wait", columns, figures)


COMPARISON = Comparison(
    "a login to a host beside a thousand that wait for their approval",
    seconds=300,
    quick_seconds=60,
    whole=run,
    quick=lambda: run(100, 6, 1),
    table=table,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
