"""Kills programs (SIGKILL) at random while people log in. The test restarts them, as systemd would."""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from e2e.conftest import Keys, Site
from e2e.crowd import PEOPLE, Crowd
from fakes import postgresql, supervisor
from fakes.postgresql import PostgreSQL

from sshaft_demo.parts import Agent, Identity, Sshd, free_port
from sshaft_demo.place import Place

KILLS = 10


@dataclass
class Crashing:
    """A separate site, whose processes the tests may kill."""

    site: Site
    keys: Keys
    database: PostgreSQL | None

    @property
    def victims(self) -> list[Identity | Agent | PostgreSQL]:
        return [self.site.identity, self.site.agent, *([self.database] if self.database else [])]


@pytest.fixture(params=["sqlite", "postgresql"])
def crashing(request: pytest.FixtureRequest) -> Iterator[Crashing]:
    with ExitStack() as stack:
        place = stack.enter_context(Place())
        keys, port = Keys(place), free_port()
        identity, database = Identity(place, free_port(), port), None
        if request.param == "postgresql":
            programs = postgresql.programs()
            if programs is None:
                pytest.skip("needs PostgreSQL: apt-get install postgresql")
            database = stack.enter_context(postgresql.running(programs, postgresql.CRASH_SAFE))
            database.execute("CREATE DATABASE identity")
            identity.run("init", "--database", database.url("identity"))
            place.stop(identity.process)
            identity.process = identity.start()
        for name in PEOPLE:
            identity.add_user(name, keys(name).with_suffix(".pub"))
        agent = Agent(place, identity.write_config(place.directory / "crash.json"), "agent-crash")
        yield Crashing(Site(identity, agent, Sshd(place, agent.runtime, port)), keys, database)


def test_only_permitted_people_pass_and_each_passed_is_accepted(crashing: Crashing) -> None:
    site, keys = crashing.site, crashing.keys
    crowd = Crowd(site, keys)
    dice = random.Random(20261122)

    def crash() -> None:
        for number in range(KILLS):
            time.sleep(dice.uniform(0.2, 1.2))  # the time between two crashes is what this is about
            supervisor.kill(crashing.victims[number % len(crashing.victims)])

    site.identity.open_challenge("ann")  # the client is made before it gets rough
    crowd.log_in_while(crash)
    crowd.check()
    after = site.identity.open_challenge("ann")
    assert site.sshd.ssh(keys("ann"), after["code"]).returncode == 0, "it is not well again by itself"
