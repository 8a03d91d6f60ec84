"""Measures what the distance to the identity service costs a login: a proxy delays what the agent and the service send.

    .venv/bin/python -m bench.comparisons.distance [--round-trips 0,10,50,150] [--logins 48]

A look-up is for a key that is new to the agent. `round_trips` is the time that a look-up takes longer than at the first
distance, counted in round trips.

A login is a real ssh with /bin/true as its forced command; its lists and tokens are counted. A login takes up to two
round trips longer. sshd answers the offer of a key only after 2, 4, 8... times some 5 to 9 ms, so that its time tells
nothing (auth2.c, ensure_minimum_time_since). sshd rounds up the time of the keys command to this.
"""

import statistics
import time
from typing import Any

from bench.comparisons.report import Comparison, Table, new_chart, table_of
from bench.load.trial import NOTHING, Trial, change, log_in, proxy, trial
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft_demo.parts import Agent, Sshd, free_port

FORGOTTEN = 2.5
"""Seconds until the agent has forgotten its answers, see `sshaft_agent.lookup`."""


def tokens(site: Trial) -> int:
    return site.place.log("identity").count('"token.issued"')


def measure(site: Trial, milliseconds: float, logins: int) -> dict[str, Any]:
    with proxy(site.identity.port, "--round-trip", str(milliseconds)) as port:
        name = f"agent-{milliseconds:g}"
        config = site.identity.write_config(site.place.directory / f"{name}.json")
        change(config, login_path=NOTHING)
        config_text = config.read_text().replace(f"127.0.0.1:{site.identity.port}", f"127.0.0.1:{port}")
        config.write_text(config_text)
        agent = Agent(site.place, config, name)
        sshd = Sshd(site.place, agent.runtime, free_port())
        site.wait_for_everybody()
        for key in site.keys[:2]:
            log_in(sshd, key)  # the agent has a token and a connection afterwards
        lists, before = agent.status()["list_requests"], tokens(site)
        times = []
        for _ in range(logins // len(site.keys)):
            time.sleep(FORGOTTEN)
            times += [log_in(sshd, key) for key in site.keys]
        lists, issued = agent.status()["list_requests"] - lists, tokens(site) - before
        return {
            "lookup_ms": site.ask(agent, "--rate", "4", "--seconds", "6")["p50_ms"],
            "login_ms": round(statistics.median(times) * 1000, 1),
            "lists_a_login": round(lists / len(times), 2),
            "tokens_a_login": issued / len(times),
        }


def run(round_trips: tuple[float, ...] = (0.0, 10.0, 50.0, 150.0), logins: int = 48) -> Rounds:
    figures: Figures = {}
    near = round_trips[0]
    with trial() as site:
        for done, far in enumerate(round_trips, 1):
            own = measure(site, far, logins)
            if far != near:
                more = own["lookup_ms"] - figures[f"{near:g}"]["lookup_ms"]
                own["round_trips"] = round(more / (far - near), 2)
            figures[f"{far:g}"] = own
            yield Measured(done, len(round_trips), figures, "distances")


def table(figures: Figures) -> Table:
    columns = {
        "lookup_ms": "look-up, ms",
        "round_trips": "round trips a look-up",
        "login_ms": "login, ms",
        "lists_a_login": "lists a login",
        "tokens_a_login": "tokens a login",
    }
    return table_of("round trip, ms", columns, figures)


def plot(figures: Figures) -> Any:
    chart = new_chart("XY", "Milliseconds by round-trip time to the identity service")
    chart.add("a login", [(float(far), each["login_ms"]) for far, each in figures.items()])
    chart.add("a look-up", [(float(far), each["lookup_ms"]) for far, each in figures.items()])
    return chart


COMPARISON = Comparison(
    "a login with a distant identity service",
    seconds=150,
    quick_seconds=40,
    whole=run,
    quick=lambda: run((0, 50), 16),
    table=table,
    plot=plot,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
