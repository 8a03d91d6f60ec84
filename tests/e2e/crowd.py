"""Lets many people log in while a test breaks something, and checks the results afterwards."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import requests
from e2e.conftest import Keys, Site

PEOPLE = ("ann", "ben", "cho", "dee")
MOST_WRONG = 6
"""Codes of each: with more a fast machine comes to the limits of a person (10 an hour) and of an address (30)."""


@dataclass
class Crowd:
    """People who log in again and again, one thread each; every third time with a wrong code, at first."""

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
            right = turn % 3 != 0 or turn > 3 * MOST_WRONG
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

    def check(self) -> None:
        """Checks that only permitted people passed, and that each "passed" was accepted once."""
        assert self.wrongly == []
        states = {challenge: self.site.identity.challenge(challenge)["state"] for challenge in self.passed}
        assert set(states.values()) <= {"accepted", "expired"}, states  # the result of a login ends after it
        accepted = Counter(
            json.loads(line)["facts"]["challenge"]
            for line in self.site.identity.run("audit", "export").splitlines()
            if json.loads(line)["event"] == "challenge.accepted"
        )
        assert set(self.passed) <= set(accepted)
        assert set(accepted.values()) <= {1}, "something was accepted twice"
