"""Whether a login takes longer because others are waiting: with 1, 10,000 and 1,000,000 pending challenges, on SQLite.

    .venv/bin/python -m bench.comparisons.pending [--sizes 1,10000,1000000] [--seconds 8]

A look-up: from the agent's socket to the identity service and back, of registered keys for which something waits, 20 a
second, each of them new to the agent. A login: a real ssh, one after the other.
"""

import argparse
import json
import os
import statistics
from typing import Any

from bench.load.database_rows import KEYS_EACH, fill_challenges, fill_keys, microseconds, of_users
from bench.load.trial import NOTHING, Trial, log_in, say, trial
from sshaft_demo.parts import Sshd, free_port
from sshaft_demo.place import IDENTITY
from sshaft_identity import settings
from sshaft_identity.command_line import open_store

REGISTERED = 2000
"""Keys; for those of the first half of their users something waits."""
ROUNDS = 3


def fill(site: Trial, size: int) -> None:
    directory = site.identity.directory
    with open_store(directory, settings.load(directory)) as store:
        if size > 1:
            fill_keys(store.database, range(REGISTERED))
            fill_challenges(store.database, of_users(size, REGISTERED // KEYS_EACH, microseconds(3600)))
    if site.place.accounts.separate:
        for path in directory.iterdir():
            os.chown(path, *[site.place.accounts.uids[IDENTITY]] * 2)


def measure(size: int, seconds: float) -> dict[str, Any]:
    with trial() as site:
        site.place.stop(site.identity.process)
        fill(site, size)
        site.identity.process = site.identity.start()
        agent = site.agent("agent", login_path=NOTHING)
        sshd = Sshd(site.place, agent.runtime, free_port())
        whose = ("--from", "0") if size > 1 else ()
        lookups, logins = [], []
        site.ask(agent, "--seconds", "2", "--rate", "20")  # warm
        for number in range(ROUNDS):
            say(f"  {size:,} pending: round {number + 1} of {ROUNDS}")
            site.wait_for_everybody()
            lookups.append(site.ask(agent, "--seconds", str(seconds), "--rate", "20", *whose)["p50_ms"])
            logins += [log_in(sshd, key) for key in site.keys]
        return {
            "lookup_ms": round(statistics.median(lookups), 2),
            "login_ms": round(statistics.median(logins) * 1000, 1),
        }


def run(sizes: list[int], seconds: float) -> dict[str, dict[str, Any]]:
    """By number of pending challenges."""
    return {str(size): measure(size, seconds) for size in sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1,10000,1000000")
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    print(json.dumps(run([int(size) for size in options.sizes.split(",")], options.seconds), indent=1))


if __name__ == "__main__":
    main()
