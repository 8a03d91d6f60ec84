"""Logins a second through a real sshd: behind each of the keys clients, behind what the original did, and behind a
plain AuthorizedKeysFile, which is the limit. The forced command is /bin/true everywhere but in `whole`, where
sshaft-login reports the pass.

    .venv/bin/python bench/logins.py [--rounds 20] [--logins 16]
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

from trial import NOTHING, Trial, in_rounds, log_in, ratios, tls_in_front, trial

from sshaft_demo.parts import Sshd, agent_question, free_port
from sshaft_demo.place import NATIVE

AT_ONCE = 4


def a_second(trial: Trial, sshd: Sshd, logins: int) -> float:
    trial.wait_for_everybody()
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        turns = cycle(trial.keys)
        list(pool.map(lambda _: log_in(sshd, next(turns)), range(logins)))
    return logins / (time.perf_counter() - began)


def whole(trial: Trial, sshd: Sshd, logins: int) -> float:
    """With the report of the pass, of a challenge that is open already."""
    opened = [(key, n, trial.identity.open_challenge(f"person{n}")) for n, key in enumerate(trial.keys)][:logins]
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda one: log_in(sshd, one[0], one[2]["code"]), opened))
    return len(opened) / (time.perf_counter() - began)


def behind(trial: Trial, command: str, **more: str) -> Sshd:
    return Sshd(trial.place, trial.place.directory, free_port(), {"AuthorizedKeysCommand": command, **more})


def run(rounds: int, logins: int) -> dict[str, Any]:
    with trial() as site, tls_in_front(site) as secure:
        place = site.place
        agent = site.agent("agent", login_path=NOTHING)
        real = site.agent("real")
        secret = secure("stand-alone", login_path=NOTHING)
        keys_file = place.directory / "authorized_keys"
        lines = [f'restrict,command="{NOTHING}" {key.with_suffix(".pub").read_text()}' for key in site.keys]
        keys_file.write_text("".join(lines))
        options = "--fingerprint %f --type %t --key %k"
        sshds = {
            "plain": behind(site, "none", AuthorizedKeysFile=str(keys_file)),
            "native": behind(site, agent_question(place, agent.runtime, NATIVE.name)),
            "python": behind(site, agent_question(place, agent.runtime, "sshaft-keys")),
            "stand-alone": behind(site, place.keys_command(f"--config {secret} {options}")),
            "original": behind(site, " ".join(site.original(secret))),
        }
        ways = {name: (lambda sshd=sshd: a_second(site, sshd, logins)) for name, sshd in sshds.items()}
        reporting = behind(site, agent_question(place, real.runtime, NATIVE.name))
        ways["whole"] = lambda: whole(site, reporting, logins)
        for way in ways.values():
            way()  # warm
        measured = in_rounds(rounds, ways)
    plain = measured["plain"]
    return {
        name: {"a_second": round(statistics.median(each), 1), "of_the_limit": round(ratios(each, plain), 3)}
        for name, each in measured.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--logins", type=int, default=16)
    options = parser.parse_args()
    print(json.dumps(run(options.rounds, options.logins), indent=1))


if __name__ == "__main__":
    main()
