"""Logins through a real sshd: behind each of the keys clients, behind what the original did, and behind a plain
AuthorizedKeysFile, which is the limit. `cat` prints that same file: what it costs sshd to run any command at all.
`plain again` is the limit once more: how far two equal ways differ here. The forced command is /bin/true everywhere but
in `whole`, where sshaft-login reports the pass.

    .venv/bin/python -m bench.comparisons.logins [--rounds 14] [--people 40]
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.load.trial import NOTHING, Trial, cpu_of, log_in, say, tls_in_front, trial
from sshaft_demo.parts import Agent, Sshd, agent_question, free_port
from sshaft_demo.place import NATIVE

AT_ONCE = 8
"""So that two cores are busy: what is measured is what they can do, not how long sshd waits by itself."""
PEOPLE = 40
"""At this pace, too, none comes back before the agent has forgotten the answer about them."""


@dataclass(frozen=True)
class Round:
    """What some logins of one way took."""

    a_second: float
    cpu_ms: float
    """Of a login, on the whole machine: ssh, sshd, the keys command, the agent and the identity service."""
    agent_ms: float
    identity_ms: float


def busy_seconds() -> float:
    """Of all cores since the machine was started (proc_stat(5))."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Logins:
    """Of everybody, once each, at one of the sshds."""

    trial: Trial
    agents: Sequence[Agent]

    def timed(self, sshd: Sshd, who: Sequence[tuple[Path, str]]) -> Round:
        """These keys with these words, AT_ONCE at a time."""
        busy, began = busy_seconds(), time.perf_counter()
        with cpu_of(self.trial.identity.process, *(agent.process for agent in self.agents)) as parts:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda one: log_in(sshd, *one), who))
            took = time.perf_counter() - began
            time.sleep(0.2)  # sshd's processes outlive the connection
        identity, *agents = parts
        cpu = (busy_seconds() - busy, sum(agents), identity)
        return Round(len(who) / took, *(1000 * each / len(who) for each in cpu))

    def listed(self, sshd: Sshd) -> Round:
        self.trial.wait_for_everybody()
        return self.timed(sshd, [(key, "1") for key in self.trial.keys])

    def whole(self, sshd: Sshd) -> Round:
        """With the report of the pass, of a challenge that is open already."""
        pairs = zip(self.trial.keys, self.trial.wait_for_everybody(), strict=True)
        return self.timed(sshd, [(key, challenge["code"]) for key, challenge in pairs])


def behind(trial: Trial, command: str, **more: str) -> Sshd:
    return Sshd(trial.place, trial.place.directory, free_port(), {"AuthorizedKeysCommand": command, **more})


def run(rounds: int, people: int) -> dict[str, Any]:
    with trial(people) as site, tls_in_front(site) as secure:
        place = site.place
        agent = site.agent("agent", login_path=NOTHING)
        real = site.agent("real")
        secret = secure("stand-alone", login_path=NOTHING)
        keys_file = place.directory / "authorized_keys"
        lines = [f'restrict,command="{NOTHING}" {key.with_suffix(".pub").read_text()}' for key in site.keys]
        keys_file.write_text("".join(lines))
        options = "--fingerprint %f --type %t --key %k"
        # An ordinary user's place is below /tmp, where others may write: too little for StrictModes.
        below_tmp = {} if place.accounts.separate else {"StrictModes": "no"}
        plain = behind(site, "none", AuthorizedKeysFile=str(keys_file), **below_tmp)
        sshds = {
            "plain": plain,
            "plain again": plain,
            "cat": behind(site, f"/bin/cat {keys_file}"),
            "native": behind(site, agent_question(place, agent.runtime, NATIVE.name)),
            "python": behind(site, agent_question(place, agent.runtime, "sshaft-keys")),
            "stand-alone": behind(site, place.keys_command(f"--config {secret} {options}")),
            "original": behind(site, " ".join(site.original(secret))),
        }
        measure = Logins(site, (agent, real))
        ways = {name: partial(measure.listed, sshd) for name, sshd in sshds.items()}
        reporting = behind(site, agent_question(place, real.runtime, NATIVE.name))
        ways["whole"] = partial(measure.whole, reporting)
        for way in ways.values():
            way()  # warm
        measured = in_rounds(rounds, ways)
    return {name: figures(each, measured["plain"]) for name, each in measured.items()}


def in_rounds(rounds: int, ways: dict[str, Callable[[], Round]]) -> dict[str, list[Round]]:
    """Each way once a round, there and back again, so that what the machine does meanwhile happens to all of them."""
    measured: dict[str, list[Round]] = {name: [] for name in ways}
    for number in range(rounds):
        say(f"  round {number + 1} of {rounds}")
        for name in list(ways) if number % 2 else reversed(ways):
            measured[name].append(ways[name]())
    return measured


def figures(way: Sequence[Round], plain: Sequence[Round]) -> dict[str, float]:
    """Medians; of the limit: the median of what each round says."""
    pairs = list(zip(way, plain, strict=True))
    return {
        "a_second": round(statistics.median(one.a_second for one in way), 1),
        "of_the_limit": round(statistics.median(one.a_second / limit.a_second for one, limit in pairs), 3),
        "cpu_ms": round(statistics.median(one.cpu_ms for one in way), 1),
        "by_cpu": round(statistics.median(limit.cpu_ms / one.cpu_ms for one, limit in pairs), 3),
        "agent_ms": round(statistics.median(one.agent_ms for one in way), 1),
        "identity_ms": round(statistics.median(one.identity_ms for one in way), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--people", type=int, default=PEOPLE)
    options = parser.parse_args()
    print(json.dumps(run(options.rounds, options.people), indent=1))


if __name__ == "__main__":
    main()
