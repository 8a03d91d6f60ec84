"""Tests logins while clocks change by an hour: the clock of the service, of the host (agent and sshd), or both."""

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import requests
from e2e.conftest import Keys, Site
from e2e.crowd import PEOPLE, Crowd
from fakes.clock import FakeClock, library

from sshaft.clocks import correction
from sshaft_agent.agent import PURGE_SECONDS
from sshaft_demo.parts import Agent, Identity, Sshd, free_port
from sshaft_demo.place import Place

HOUR = 3600
REFUSED_BY_SSHD = 255
JUMPS = [(HOUR, 0), (-HOUR, 0), (0, HOUR), (0, -HOUR), (HOUR, HOUR), (-HOUR, -HOUR)]
"""Of the service, of the host."""
OVER = ("Your login expired ", "No login is waiting for you. Start it in the browser first.\n")


@dataclass
class Clocked:
    """A separate site whose clocks the test sets."""

    site: Site
    keys: Keys
    service: FakeClock
    host: FakeClock

    def put(self, service: int, host: int) -> None:
        """Both clocks so far ahead, and until the service's answers have the new `Date`, made up once a second."""
        self.service.put(service)
        self.host.put(host)
        expected, end = timedelta(seconds=-service), time.monotonic() + 10
        while correction(self._date(), datetime.now(UTC)) != expected:
            assert time.monotonic() < end
            time.sleep(0.05)

    def _date(self) -> str:
        return requests.get(f"{self.site.identity.url}/healthz", timeout=10).headers["Date"]

    def ssh(self, code: str, name: str = "ann") -> tuple[int, str]:
        """Its status and what the person reads. A busy machine may be too slow for the keys command, which then gives
        no keys; who is shut out by a clock is so every time.
        """
        for _ in range(5):
            done = self.site.sshd.ssh(self.keys(name), code)
            if done.returncode != REFUSED_BY_SSHD:
                break
        return done.returncode, done.stdout + done.stderr

    def state(self, challenge: dict[str, str]) -> str:
        return str(self.site.identity.challenge(challenge["id"])["state"])

    def passes(self, name: str = "ann") -> dict[str, str]:
        """Logs in from the beginning to the end."""
        challenge = self.site.identity.open_challenge(name)
        status, said = self.ssh(challenge["code"], name)
        assert (status, self.state(challenge)) == (0, "accepted"), said
        return challenge

    def page_state(self, challenge: dict[str, str], wait: int = 0) -> str:
        answer = requests.get(f"{challenge['page_url']}/state", params={"wait": wait}, timeout=40)
        return str(answer.json()["state"])


@pytest.fixture(scope="module")
def whole() -> Iterator[Clocked]:
    if library() is None:
        pytest.skip("needs libfaketime: apt-get install faketime")
    with Place() as place:
        service, host = FakeClock(place.directory / "clock-service"), FakeClock(place.directory / "clock-host")
        keys, port = Keys(place), free_port()
        identity = Identity(place, free_port(), port, service.environment)
        for name in PEOPLE:
            identity.add_user(name, keys(name).with_suffix(".pub"))
        agent = Agent(place, identity.write_config(place.directory / "clocks.json"), "agent", host.environment)
        sshd = Sshd(place, agent.runtime, port, environment=host.environment)
        yield Clocked(Site(identity, agent, sshd), keys, service, host)


@pytest.fixture
def clocked(whole: Clocked) -> Iterator[Clocked]:
    """With all clocks right, and tokens out by which the parts have spoken already."""
    whole.put(0, 0)
    whole.passes()
    yield whole
    whole.put(0, 0)
    whole.passes()  # well again without hands
    assert "events sealed" in whole.site.identity.run("audit", "verify")


@pytest.mark.parametrize(("service", "host"), JUMPS)
def test_login_begun_before_the_jump_ends_by_the_services_clock_and_the_next_one_passes(
    clocked: Clocked, service: int, host: int
) -> None:
    challenge = clocked.site.identity.open_challenge("ann")
    clocked.put(service, host)
    status, said = clocked.ssh(challenge["code"])
    if service:
        assert status == 2
        assert said.startswith(OVER)
        assert (clocked.state(challenge), clocked.page_state(challenge)) == ("expired", "expired")
    else:
        assert (status, clocked.state(challenge)) == (0, "accepted"), said
    clocked.passes()


@pytest.mark.parametrize(("service", "host"), JUMPS)
def test_pages_and_long_polls_that_wait_are_told(clocked: Clocked, service: int, host: int) -> None:
    identity = clocked.site.identity
    challenge = identity.open_challenge("ann")
    with ThreadPoolExecutor(2) as waiting:
        # the service looks for changes twice a second
        page = waiting.submit(clocked.page_state, challenge, 20)
        poll = waiting.submit(identity.challenge, challenge["id"], 20)
        time.sleep(0.3)
        began = time.monotonic()
        clocked.put(service, host)
        if not service:
            assert clocked.ssh(challenge["code"])[0] == 0
        expected = "expired" if service else "accepted"
        assert (page.result(), poll.result()["state"]) == (expected, expected)
        assert time.monotonic() - began < 18, "told by the end of the wait only"


@pytest.mark.parametrize(("service", "host"), JUMPS)
def test_decided_logins_stay_decided_after_the_jump(clocked: Clocked, service: int, host: int) -> None:
    identity = clocked.site.identity
    accepted, consumed = clocked.passes("ann"), clocked.passes("ben")
    identity.consume(consumed["id"])
    denied = identity.open_challenge("cho")
    clocked.ssh("deny", "cho")
    cancelled = identity.open_challenge("dee")
    identity.cancel(cancelled["id"])
    clocked.put(service, host)
    opened = {"ann": accepted, "ben": consumed, "cho": denied, "dee": cancelled}
    for name, challenge in opened.items():
        status, said = clocked.ssh(challenge["code"], name)
        assert status != 0, (name, said)
    is_over = service > 0  # an hour later nobody may take the result any more
    states = ["expired" if is_over else "accepted", "consumed", "rejected", "cancelled"]
    assert [clocked.state(each) for each in opened.values()] == states
    if not is_over:
        assert identity.consume(accepted["id"])["state"] == "consumed"
    with pytest.raises(requests.HTTPError, match="409"):
        identity.consume(accepted["id"])
    with pytest.raises(requests.HTTPError, match="409"):
        identity.consume(consumed["id"])


def test_agent_tells_of_a_clock_that_was_set_and_is_not_the_services(clocked: Clocked) -> None:
    def told(name: str, fact: str) -> list[int]:
        lines = clocked.site.identity.place.log("agent").splitlines()
        return [json.loads(line)[fact] for line in lines if f'"{name}"' in line]

    clocked.put(0, HOUR)
    clocked.passes()
    assert told("clocks.differ", "ahead_of_identity_service")[-1] == HOUR
    end = time.monotonic() + 3 * PURGE_SECONDS
    while round(sum(told("clock.jumped", "seconds")), -1) != HOUR:  # all jumps since it was started
        assert time.monotonic() < end
        time.sleep(0.2)


def test_only_permitted_people_pass_during_a_jump(clocked: Clocked) -> None:
    crowd = Crowd(clocked.site, clocked.keys)
    dice = random.Random(20261123)

    def jump() -> None:
        for _ in range(12):
            time.sleep(dice.uniform(0.3, 1.0))  # the time between two jumps is what this is about
            clocked.put(*dice.choice([*JUMPS, (0, 0)]))

    crowd.log_in_while(jump)
    crowd.check()
    assert crowd.passed, "with all this jumping nobody ever got in"
