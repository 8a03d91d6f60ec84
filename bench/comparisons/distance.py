"""What distance to the identity service costs a login: a proxy delays what goes between the two.

    .venv/bin/python -m bench.comparisons.distance [--round-trips 0,10,50,150] [--logins 48]

A look-up: of a key that is new to the agent; `round_trips` is how many of them it takes longer than without a distance.
A login: real ssh, with /bin/true as its forced command; lists and tokens are counted. It takes up to two round trips
longer: sshd answers what is no login yet (and the offer of a key is none) only after 2, 4, 8... times some 5 to 9 ms,
so that its time tells nothing (auth2.c, ensure_minimum_time_since): what the keys command has taken is rounded up.
"""

import argparse
import json
import statistics
import time
from typing import Any

from bench.load.trial import NOTHING, Trial, change, log_in, proxy, say, trial
from sshaft_demo.parts import Agent, Sshd, free_port

GONE = 2.5
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
            log_in(sshd, key)  # the token, and a connection
        lists, before = agent.status()["list_requests"], tokens(site)
        taken = []
        for turn in range(logins // len(site.keys)):
            say(f"  {milliseconds:g} ms: {turn * len(site.keys)} of {logins} logins")
            time.sleep(GONE)
            taken += [log_in(sshd, key) for key in site.keys]
        lists, issued = agent.status()["list_requests"] - lists, tokens(site) - before
        return {
            "lookup_ms": site.ask(agent, "--rate", "4", "--seconds", "6")["p50_ms"],
            "login_ms": round(statistics.median(taken) * 1000, 1),
            "lists_a_login": round(lists / len(taken), 2),
            "tokens_a_login": issued / len(taken),
        }


def run(round_trips: list[float], logins: int) -> dict[str, dict[str, Any]]:
    """By round-trip time in milliseconds."""
    with trial() as site:
        found = {f"{each:g}": measure(site, each, logins) for each in round_trips}
    near = found[f"{round_trips[0]:g}"]["lookup_ms"]
    for each in round_trips[1:]:
        own = found[f"{each:g}"]
        own["round_trips"] = round((own["lookup_ms"] - near) / (each - round_trips[0]), 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--round-trips", default="0,10,50,150")
    parser.add_argument("--logins", type=int, default=48)
    options = parser.parse_args()
    print(json.dumps(run([float(each) for each in options.round_trips.split(",")], options.logins), indent=1))


if __name__ == "__main__":
    main()
