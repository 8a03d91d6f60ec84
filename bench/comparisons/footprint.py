"""What agent and identity service cost: memory at rest and after load, a million look-ups, and CPU of a whole login.

.venv/bin/python -m bench.comparisons.footprint [--lookups 1000000]
"""

import argparse
import json
import statistics
from typing import Any

from bench.load.trial import cpu_of, log_in, memory_mb, say, trial
from sshaft_demo.parts import Sshd, free_port

STEPS = 10
PARALLEL = 200


def run(lookups: int) -> dict[str, Any]:
    with trial() as site:
        agent = site.agent()
        sshd = Sshd(site.place, agent.runtime, free_port())
        parts = {"agent": agent.process.pid, "identity service": site.identity.process.pid}
        rest = {name: memory_mb(pid) for name, pid in parts.items()}
        logins, cpu = 0, []
        for _ in range(3):
            opened = site.wait_for_everybody()
            for key, challenge in zip(site.keys, opened, strict=True):
                with cpu_of(agent.process, site.identity.process) as used:
                    log_in(sshd, key, challenge["code"])
                cpu.append(used)
                logins += 1
        after_logins = {name: memory_mb(pid) for name, pid in parts.items()}
        asked, memory = 0, []
        type_, known = site.keys[0].with_suffix(".pub").read_text().split()[:2]
        while asked < lookups:
            say(f"  {asked:,} of {lookups:,} look-ups")
            site.wait_for_everybody()
            # half of the time a key that waits, half of the time keys that nobody has
            for options in (("--type", type_, "--key", known), ()):
                seconds = str(max(2.0, lookups / STEPS / 2 / 2500))
                asked += site.ask(agent, "--seconds", seconds, "--parallel", str(PARALLEL), *options)["answered"]
            memory.append([asked, round(memory_mb(parts["agent"]), 1)])
        last = {name: memory_mb(pid) for name, pid in parts.items()}
    return {
        "memory_mb": {
            name: {"at rest": round(rest[name], 1), f"after {logins} logins": round(after_logins[name], 1),
                   f"after {asked:,} look-ups": round(last[name], 1)}
            for name in parts
        },
        "agent_memory_by_lookups": memory,
        "cpu_ms_a_login": {
            name: round(statistics.mean(used[n] for used in cpu) * 1000, 2) for n, name in enumerate(parts)
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lookups", type=int, default=1_000_000)
    print(json.dumps(run(parser.parse_args().lookups), indent=1))


if __name__ == "__main__":
    main()
