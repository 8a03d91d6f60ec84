"""Compares logins through a real sshd: with each keys client, with the original's command, and with a plain
AuthorizedKeysFile. The plain file is the limit.

`plain again` measures the limit once more: its difference shows how exact the figures are. `cat` prints the same file:
it shows what any command costs sshd. The forced command is /bin/true, except in `whole`: there sshaft-login reports the
pass.

    .venv/bin/python -m bench.comparisons.logins [--rounds 14] [--people 40]
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.comparisons.report import Comparison, Table, new_chart, table_of
from bench.load.trial import NOTHING, Trial, cpu_of, log_in, tls_in_front, trial
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft_demo.parts import Agent, Sshd, agent_question, free_port
from sshaft_demo.place import NATIVE

AT_ONCE = 8
"""Enough to keep two cores busy: the figures show what the cores can do, not how long sshd waits."""
PEOPLE = 40
"""Enough at this pace: when a person comes back, the agent has forgotten the answer about the person's key."""


@dataclass(frozen=True)
class Pass:
    """The figures of one login of each person, at one sshd."""

    a_second: float
    cpu_ms: float
    """CPU of a login on the whole machine: ssh, sshd, the keys command, the agent and the identity service."""
    agent_ms: float
    identity_ms: float


def busy_seconds() -> float:
    """Returns the CPU seconds of all cores since the machine was started (proc_stat(5))."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Logins:
    """Lets each person log in once, AT_ONCE at a time, and measures it."""

    trial: Trial
    agents: Sequence[Agent]

    def listed(self, sshd: Sshd) -> Pass:
        self.trial.wait_for_everybody()
        return self._timed(sshd, [(key, "1") for key in self.trial.keys])

    def whole(self, sshd: Sshd) -> Pass:
        """With the report of the pass. The challenges are opened before the clock starts."""
        pairs = zip(self.trial.keys, self.trial.wait_for_everybody(), strict=True)
        return self._timed(sshd, [(key, challenge["code"]) for key, challenge in pairs])

    def _timed(self, sshd: Sshd, people: Sequence[tuple[Path, str]]) -> Pass:
        """`people`: the key and the word of each login."""
        busy, began = busy_seconds(), time.perf_counter()
        with cpu_of(self.trial.identity.process, *(agent.process for agent in self.agents)) as parts:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda person: log_in(sshd, *person), people))
            took = time.perf_counter() - began
            time.sleep(0.2)  # sshd's processes outlive the connection
        identity, *agents = parts
        cpu = (busy_seconds() - busy, sum(agents), identity)
        return Pass(len(people) / took, *(1000 * each / len(people) for each in cpu))


def sshd_with(site: Trial, command: str, **changes: str) -> Sshd:
    """Starts an sshd with this AuthorizedKeysCommand and these changes of its sshd_config."""
    return Sshd(site.place, site.place.directory, free_port(), {"AuthorizedKeysCommand": command, **changes})


def plain_sshd(site: Trial, keys_file: Path) -> Sshd:
    """Starts the sshd of the limit: it reads `keys_file`, which this function writes."""
    lines = [f'restrict,command="{NOTHING}" {key.with_suffix(".pub").read_text()}' for key in site.keys]
    keys_file.write_text("".join(lines))
    # An ordinary user's place is below /tmp. Others may write there, so StrictModes refuses it.
    below_tmp = {} if site.place.accounts.separate else {"StrictModes": "no"}
    return sshd_with(site, "none", AuthorizedKeysFile=str(keys_file), **below_tmp)


def run(rounds: int = 14, people: int = PEOPLE) -> Rounds:
    with trial(people) as site, tls_in_front(site) as write_config:
        place = site.place
        agent, real = site.agent("agent", login_path=NOTHING), site.agent("real")
        config, keys_file = write_config("stand-alone", login_path=NOTHING), place.directory / "authorized_keys"
        plain = plain_sshd(site, keys_file)
        sshds = {
            "plain": plain,
            "plain again": plain,
            "cat": sshd_with(site, f"/bin/cat {keys_file}"),
            "native": sshd_with(site, agent_question(place, agent.runtime, NATIVE.name)),
            "python": sshd_with(site, agent_question(place, agent.runtime, "sshaft-keys")),
            "stand-alone": sshd_with(
                site, place.keys_command(f"--config {config} --fingerprint %f --type %t --key %k")
            ),
            "original": sshd_with(site, " ".join(site.original(config))),
        }
        logins = Logins(site, (agent, real))
        ways: dict[str, Callable[[], Pass]] = {name: partial(logins.listed, sshd) for name, sshd in sshds.items()}
        ways["whole"] = partial(logins.whole, sshd_with(site, agent_question(place, real.runtime, NATIVE.name)))
        for way in ways.values():
            way()  # caches and connections are warm afterwards
        yield from in_rounds(rounds, ways)


def in_rounds(rounds: int, ways: Mapping[str, Callable[[], Pass]]) -> Rounds:
    """Runs each way once a round. Every second round is in reverse order, so that other work on the machine hits all
    ways alike.
    """
    passes: dict[str, list[Pass]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 else reversed(list(ways)):
            passes[name].append(ways[name]())
        yield Measured(number + 1, rounds, {name: summary(each, passes["plain"]) for name, each in passes.items()})


def summary(way: Sequence[Pass], plain: Sequence[Pass]) -> dict[str, float]:
    """Returns medians of all rounds. A ratio to the limit is the median of the ratios of each round."""
    pairs = list(zip(way, plain, strict=True))
    return {
        "a_second": round(statistics.median(own.a_second for own in way), 1),
        "of_the_limit": round(statistics.median(own.a_second / limit.a_second for own, limit in pairs), 3),
        "cpu_ms": round(statistics.median(own.cpu_ms for own in way), 1),
        "by_cpu": round(statistics.median(limit.cpu_ms / own.cpu_ms for own, limit in pairs), 3),
        "agent_ms": round(statistics.median(own.agent_ms for own in way), 1),
        "identity_ms": round(statistics.median(own.identity_ms for own in way), 1),
    }


def table(figures: Figures) -> Table:
    columns = {
        "a_second": "logins a second",
        "of_the_limit": "share of the limit",
        "cpu_ms": "CPU a login, ms",
        "by_cpu": "share of the limit by CPU",
        "agent_ms": "agent's CPU, ms",
        "identity_ms": "identity service's CPU, ms",
    }
    return table_of("keys from", columns, figures)


def plot(figures: Figures) -> Any:
    chart = new_chart("HorizontalBar", "Share of the limit")
    chart.x_labels = list(reversed(figures))
    chart.add("by logins a second", [each["of_the_limit"] for each in reversed(figures.values())])
    chart.add("by CPU a login", [each["by_cpu"] for each in reversed(figures.values())])
    return chart


COMPARISON = Comparison(
    "logins through a real sshd: with each keys client and with a plain file",
    seconds=600,
    quick_seconds=30,
    whole=run,
    quick=lambda: run(1, 8),
    table=table,
    plot=plot,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
