"""Kills agent, service and database at random while people log in and attackers are active, and counts the results.

    .venv/bin/python -m bench.load.chaos [--logins 10000] [--people 40] [--seconds-between-kills 20]

People open a login, run the real ssh, try again if something was away, and consume the result. Attackers begin logins
for the names of these people, invent codes, bring the right code of another person with their own key, offer unknown
keys, and hold or flood connections. A false pass: somebody passed who must not. A lost pass: ssh said "Passed", and the
login is not accepted. The exit status is 1 after a false or a lost pass, and if an attacker's thread has failed.
"""

import argparse
import itertools
import json
import random
import secrets
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import requests

from bench.progress import say
from sshaft_demo.parts import Agent, Identity, Sshd, StartError, free_port
from sshaft_demo.place import CHECKOUT, Place

sys.path.append(str(CHECKOUT / "tests"))
from fakes import supervisor
from fakes.postgresql import CRASH_SAFE, PostgreSQL, programs, running

_PASSED, _WRONG_CODE = 0, 1
_MAX_RUNS = 60
"""A person runs ssh this often for one login, at most."""


@dataclass
class Chaos:
    identity: Identity
    agent: Agent
    sshd: Sshd
    database: PostgreSQL
    keys: dict[str, Path]
    clients: dict[str, requests.Session]
    logins: int
    opened: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The user and the code of each challenge that a person has opened."""
    passed: Counter[str] = field(default_factory=Counter)
    """How often ssh has said "Passed" for a challenge."""
    statuses: Counter[int] = field(default_factory=Counter)
    attacks: Counter[str] = field(default_factory=Counter)
    false_passes: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    _numbers: Any = field(default_factory=itertools.count)

    @property
    def people(self) -> list[str]:
        return [name for name in self.keys if name.startswith("person")]

    def _until(self, act: Callable[[], Any]) -> Any:
        """Repeats an HTTP request until the service answers it."""
        while True:
            try:
                return act()
            except (requests.RequestException, StartError, ValueError, KeyError):
                time.sleep(0.1)

    def person(self, name: str) -> None:
        """Logs in until there are enough logins of everybody."""
        while next(self._numbers) < self.logins:
            opened = self._until(lambda: self.identity.open_challenge(name, app="Chaos", expires_in=600))
            self.opened[opened["id"]] = name, opened["code"]
            for _ in range(_MAX_RUNS):
                status = self.sshd.ssh(self.keys[name], opened["code"], timeout=120).returncode
                self.statuses[status] += 1
                if status == _PASSED:
                    self.passed[opened["id"]] += 1
                    break
                if self._until(partial(self.identity.challenge, opened["id"]))["state"] != "pending":
                    break  # the answer of a pass was lost: the page has shown it
                time.sleep(0.2)
            else:
                self.given_up.append(opened["id"])
                continue
            with suppress(requests.RequestException):
                self.identity.consume(opened["id"])

    # --- attackers

    def begin_in_their_name(self) -> None:
        name = random.choice(self.people)
        query = {
            "response_type": "code", "client_id": "wiki", "redirect_uri": "http://127.0.0.1:9/cb", "scope": "openid",
            "code_challenge": "c" * 43, "code_challenge_method": "S256", "login_hint": name,
            "acr_values": "urn:sshaft:acr:verified-code",
        }  # fmt: skip
        requests.get(f"{self.identity.url}/oauth2/authorize", params=query, timeout=10, allow_redirects=False)

    def invent_codes_at_the_vpn(self) -> None:
        body = {"user": random.choice(self.people), "pass": f"{secrets.randbelow(10**6):06}"}
        self.clients["vpn"].post(f"{self.identity.url}/validate/check", data=body, timeout=10)

    def bring_the_code_of_another(self) -> None:
        """The attacker has a registered key and reads the code on the screen of a colleague."""
        newest = list(self.opened.copy())[-50:]  # a copy: other threads go on
        waiting = [each for each in newest if not self.passed[each]]
        if not waiting:
            return
        challenge = random.choice(waiting)
        if self.sshd.ssh(self.keys["mallory"], self.opened[challenge][1], timeout=120).returncode == _PASSED:
            self.false_passes.append(challenge)

    def offer_an_unknown_key(self) -> None:
        if self.sshd.ssh(self.keys["unknown"], "482913", timeout=120).returncode == _PASSED:
            self.false_passes.append("unknown key")

    def flood_a_connection(self) -> None:
        with socket.create_connection(("127.0.0.1", self.identity.port), 5) as flood:
            flood.setblocking(False)
            with suppress(OSError):
                flood.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5000)
            time.sleep(2)

    def hold_a_connection(self) -> None:
        with socket.create_connection(("127.0.0.1", self.identity.port), 5) as held:
            held.sendall(b"POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")
            time.sleep(20)

    def attack(self, way: Callable[[], None], pause: float) -> None:
        while not self.over.wait(pause):
            with suppress(requests.RequestException, OSError):
                way()
                self.attacks[way.__name__.replace("_", " ")] += 1

    # --- crashes

    def crash(self, seconds: float) -> None:
        while not self.over.wait(random.uniform(0.5, 1.5) * seconds):
            victim = random.choice([self.identity, self.agent, self.database])
            self.kills[type(victim).__name__] += 1
            supervisor.kill(victim)

    def run(self, seconds_between_kills: float) -> dict[str, Any]:
        """Runs everything until there are enough logins. Returns the figures."""
        ways = [
            (self.begin_in_their_name, 0.25),
            (self.invent_codes_at_the_vpn, 0.25),
            (self.offer_an_unknown_key, 2),
            (self.bring_the_code_of_another, 2),
            (self.flood_a_connection, 5),
            (self.hold_a_connection, 1),
        ]
        others = [threading.Thread(target=self.attack, args=way) for way in ways]
        others.append(threading.Thread(target=self.crash, args=(seconds_between_kills,)))
        people = [threading.Thread(target=self.person, args=(name,)) for name in self.people]
        began = time.monotonic()
        for thread in (*people, *others):
            thread.start()
        while any(each.is_alive() for each in people):
            people[0].join(0)
            time.sleep(10)
            say(f"  {len(self.opened)} logins, {self.kills.total()} kills, {self.attacks.total()} attacks")
        failed = sum(not each.is_alive() for each in others)
        self.over.set()
        for thread in (*people, *others):
            thread.join()
        return self._figures(time.monotonic() - began) | {"attackers that failed": failed}

    def _figures(self, seconds: float) -> dict[str, Any]:
        accepted = Counter(
            event["facts"]["challenge"]
            for event in map(json.loads, self.identity.run("audit", "export").splitlines())
            if event["event"] == "challenge.accepted"
        )
        lost = [each for each in self.passed if accepted[each] != 1]
        strange = [each for each in accepted if each not in self.opened]
        return {
            "logins": len(self.opened),
            "seconds": round(seconds),
            "kills": dict(self.kills),
            "attacks": dict(self.attacks),
            "runs of ssh by exit status": dict(sorted(self.statuses.items())),
            "logins that ssh reported as passed": len(self.passed),
            "logins that passed, and the report was lost": len(set(accepted) - set(self.passed)),
            "logins given up": len(self.given_up),
            "accepted more than once": sum(count > 1 for count in accepted.values()),
            "lost passes": len(lost),
            "false passes": len(self.false_passes) + len(strange),
        }


def _set_up(stack: ExitStack, people: int, logins: int) -> Chaos:
    place = stack.enter_context(Place())
    found = programs()
    if found is None:
        sys.exit("chaos: needs PostgreSQL: apt-get install postgresql")
    database = stack.enter_context(running(found, CRASH_SAFE))
    database.execute("CREATE DATABASE identity")
    port = free_port()
    identity = Identity(place, free_port(), port)
    identity.run("init", "--database", database.url("identity"))
    place.stop(identity.process)
    identity.process = identity.start()
    names = [f"person{number}" for number in range(people)] + ["mallory"]
    keys = {name: place.generate_key(f"key-{name}") for name in (*names, "unknown")}
    identity.run_all([["user", "add", name] for name in names])
    identity.run_all([["key", "add", name, f"{keys[name]}.pub"] for name in names])
    identity.run("client", "add", "wiki", "--for", "generic-oidc", "--redirect-uri", "http://127.0.0.1:9/cb")
    vpn = requests.Session()
    made = json.loads(identity.run("client", "add", "vpn", "--for", "freeradius", "--json"))
    vpn.auth, vpn.trust_env = (made["client_id"], made["client_secret"]), False
    identity.open_challenge("mallory")  # makes the client
    agent = Agent(place, identity.write_config(place.directory / "chaos.json"))
    return Chaos(identity, agent, Sshd(place, agent.runtime, port), database, keys, {"vpn": vpn}, logins)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logins", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--seconds-between-kills", type=float, default=20)
    given = parser.parse_args()
    with ExitStack() as stack:
        figures = _set_up(stack, given.people, given.logins).run(given.seconds_between_kills)
    print(json.dumps(figures, indent=2))
    faults = "lost passes", "false passes", "accepted more than once", "attackers that failed"
    return 1 if any(figures[each] for each in faults) else 0


if __name__ == "__main__":
    sys.exit(main())
