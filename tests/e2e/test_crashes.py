"""Programs are killed (SIGKILL) at random while people log in. A supervisor starts them anew, as systemd would."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
import requests
from e2e.conftest import Keys, Site

from sshaft_demo.parts import Agent, Identity, Sshd, StartError, free_port
from sshaft_demo.place import Place

PEOPLE = ("ann", "ben", "cho", "dee")
KILLS = 10


@pytest.fixture(scope="module")
def crashing() -> Iterator[tuple[Site, Keys]]:
    """A site of its own: what is killed here is nobody else's."""
    with Place() as place:
        keys, port = Keys(place), free_port()
        identity = Identity(place, free_port(), port)
        for name in PEOPLE:
            identity.add_user(name, keys(name).with_suffix(".pub"))
        agent = Agent(place, identity.write_config(place.directory / "crash.json"), "agent-crash")
        yield Site(identity, agent, Sshd(place, agent.runtime, port)), keys


@dataclass
class Crowd:
    """People who log in again and again, one thread each; every third time with a wrong code."""

    site: Site
    keys: Keys
    passed: list[str] = field(default_factory=list)
    wrongly: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def person(self, name: str) -> None:
        opened: dict[str, str] = {}
        turn = 0
        while not self.over.is_set():
            with suppress(requests.RequestException, ValueError):
                opened = self.site.identity.open_challenge(name)
            if not opened:
                time.sleep(0.1)
                continue
            turn += 1
            right = turn % 3 != 0
            code = opened["code"] if right else f"{(int(opened['code']) + 1) % 10**6:06}"
            status = self.site.sshd.ssh(self.keys(name), code).returncode
            self.statuses[status] += 1
            if status == 0:
                (self.passed if right else self.wrongly).append(opened["id"])
            opened = {}

    def log_in_while(self, act: Callable[[], None]) -> None:
        threads = [threading.Thread(target=self.person, args=(name,)) for name in PEOPLE]
        for thread in threads:
            thread.start()
        try:
            act()
        finally:
            self.over.set()
            for thread in threads:
                thread.join()


def kill(victim: Identity | Agent) -> None:
    victim.process.kill()
    victim.process.wait(10)
    with suppress(StartError):
        victim.process = victim.start()
        return
    victim.process = victim.start()


def test_nobody_gets_in_who_should_not_and_nobody_was_told_passed_in_vain(crashing: tuple[Site, Keys]) -> None:
    site, keys = crashing
    crowd = Crowd(site, keys)
    dice = random.Random(20261122)

    def crash() -> None:
        for number in range(KILLS):
            time.sleep(dice.uniform(0.2, 1.2))  # the time between two crashes is what this is about
            kill(site.agent if number % 2 else site.identity)

    crowd.log_in_while(crash)
    assert crowd.wrongly == []
    states = {challenge: site.identity.challenge(challenge)["state"] for challenge in crowd.passed}
    assert set(states.values()) <= {"accepted"}, states
    accepted = Counter(
        json.loads(line)["challenge"]
        for line in site.identity.run("audit", "export").splitlines()
        if json.loads(line)["event"] == "challenge.accepted"
    )
    assert set(crowd.passed) <= set(accepted)
    assert set(accepted.values()) <= {1}, "something was accepted twice"
    after = site.identity.open_challenge("ann")
    assert site.sshd.ssh(keys("ann"), after["code"]).returncode == 0, "it is not well again by itself"
