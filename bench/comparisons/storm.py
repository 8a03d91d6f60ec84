"""Bots that offer a thousand unknown keys a second, and a person who logs in meanwhile.

    .venv/bin/python -m bench.comparisons.storm [--rate 1000] [--seconds 20]

The keys go to the agent's socket, as from many sshds: one sshd could not take so many connections. The storm itself
takes a part of the machine's two cores.
"""

import argparse
import json
import statistics
import threading
import time
from typing import Any

from bench.load.trial import NOTHING, cpu_of, log_in, say, trial
from sshaft_demo.parts import Sshd, free_port


def run(rate: float, seconds: float) -> dict[str, Any]:
    with trial() as site:
        agent = site.agent("agent", login_path=NOTHING)
        sshd = Sshd(site.place, agent.runtime, free_port())

        def log_in_for(seconds: float) -> list[float]:
            end, taken = time.monotonic() + seconds, []
            while time.monotonic() < end:
                taken.append(log_in(sshd, site.keys[len(taken) % len(site.keys)]))
            return taken

        site.wait_for_everybody()
        log_in_for(2)
        say("  quiet")
        quiet = log_in_for(seconds)
        say(f"  {rate:g} unknown keys a second")
        answers: dict[str, Any] = {}
        storm = threading.Thread(
            target=lambda: answers.update(site.ask(agent, "--seconds", str(seconds + 2), "--rate", str(rate)))
        )
        with cpu_of(agent.process, site.identity.process) as cpu:
            before, began = agent.status()["list_requests"], time.monotonic()
            storm.start()
            time.sleep(1)
            stormy = log_in_for(seconds)
            storm.join()
            lists, lasted = agent.status()["list_requests"] - before, time.monotonic() - began
    before_it, in_it = statistics.median(quiet), statistics.median(stormy)
    return {
        "login_ms": {"quiet": round(before_it * 1000, 1), "storm": round(in_it * 1000, 1)},
        "times_slower": round(in_it / before_it, 2),
        "unknown_keys": answers,
        "lists_a_second": round(lists / lasted, 1),
        "cores": {"agent": round(cpu[0] / lasted, 2), "identity service": round(cpu[1] / lasted, 2)},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    print(json.dumps(run(options.rate, options.seconds), indent=1))


if __name__ == "__main__":
    main()
