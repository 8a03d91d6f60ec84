"""Measures whether a login takes longer with many pending challenges: 1, 10,000 and 1,000,000, on SQLite.

    .venv/bin/python -m bench.comparisons.pending [--sizes 1,10000,1000000] [--seconds 8]

A look-up goes from the agent's socket to the identity service and back. The agent gets 20 a second; each is for another
registered key with a pending challenge, new to the agent. A login is a real ssh; the logins run one after the other.
"""

import os
import statistics
from collections.abc import Iterator
from itertools import count
from typing import Any

from bench.comparisons.report import Comparison, Table, new_chart, table_of
from bench.load.database_rows import KEYS_EACH, fill_challenges, fill_keys, microseconds, of_users
from bench.load.trial import NOTHING, Trial, log_in, trial
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft_demo.parts import Sshd, free_port
from sshaft_demo.place import IDENTITY
from sshaft_identity import settings
from sshaft_identity.commands.shared import open_store

REGISTERED = 2000
"""Registered keys. The first half of their users have a pending challenge."""
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


def rounds_of(size: int, seconds: float) -> Iterator[dict[str, float]]:
    """Yields the medians of all rounds so far with `size` pending challenges."""
    with trial() as site:
        site.place.stop(site.identity.process)
        fill(site, size)
        site.identity.process = site.identity.start()
        agent = site.agent("agent", login_path=NOTHING)
        sshd = Sshd(site.place, agent.runtime, free_port())
        keys = ("--from", "0") if size > 1 else ()
        lookups: list[float] = []
        logins: list[float] = []
        site.ask(agent, "--seconds", "2", "--rate", "20")  # caches and connections are warm afterwards
        for _ in range(ROUNDS):
            site.wait_for_everybody()
            lookups.append(site.ask(agent, "--seconds", str(seconds), "--rate", "20", *keys)["p50_ms"])
            logins += [log_in(sshd, key) for key in site.keys]
            yield {
                "lookup_ms": round(statistics.median(lookups), 2),
                "login_ms": round(statistics.median(logins) * 1000, 1),
            }


def run(sizes: tuple[int, ...] = (1, 10_000, 1_000_000), seconds: float = 8.0) -> Rounds:
    figures: Figures = {}
    done = count(1)
    for size in sizes:
        for medians in rounds_of(size, seconds):
            figures[str(size)] = medians
            yield Measured(next(done), len(sizes) * ROUNDS, figures)


def table(figures: Figures) -> Table:
    return table_of("pending challenges", {"lookup_ms": "look-up, ms", "login_ms": "login, ms"}, figures)


def plot(figures: Figures) -> Any:
    chart = new_chart("Bar", "Milliseconds by number of pending challenges", range=(0, None))
    chart.x_labels = [f"{int(size):,}" for size in figures]
    chart.add("a login", [each["login_ms"] for each in figures.values()])
    chart.add("a look-up", [each["lookup_ms"] for each in figures.values()])
    return chart


COMPARISON = Comparison(
    "a login beside many pending challenges",
    seconds=240,
    quick_seconds=60,
    whole=run,
    quick=lambda: run((1, 1000), 2),
    table=table,
    plot=plot,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
