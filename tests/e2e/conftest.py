"""Provides a real sshd with our sshd_config, a real ssh and our real programs. As root, each has its own account."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes.identity_server import IdentityServer

from sshaft_demo.parts import Agent, Identity, Sshd, free_port
from sshaft_demo.place import AGENT, KEYS, LOGIN, Place

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


@dataclass
class Keys:
    """Makes temporary key pairs by name, at their first use."""

    place: Place
    made: dict[str, Path] = field(default_factory=dict)

    def __call__(self, name: str, *options: str) -> Path:
        if name not in self.made:
            self.made[name] = self.place.generate_key(f"key-{name}", *options)
        return self.made[name]

    def text(self, name: str) -> str:
        return self(name).with_suffix(".pub").read_text().strip()


@pytest.fixture(scope="session")
def keys(place: Place) -> Keys:
    return Keys(place)


@dataclass
class Site:
    """Our identity service, an agent and an sshd, as they would be installed. Alice, Bob and Carol have keys there."""

    identity: Identity
    agent: Agent
    sshd: Sshd

    def accepts(self) -> int:
        """Returns the number of accepts that the identity service has granted."""
        log = self.identity.place.log("identity")
        return sum('"challenge.accepted"' in line for line in log.splitlines())


@pytest.fixture(scope="session")
def site(place: Place, keys: Keys) -> Site:
    port = free_port()
    identity = Identity(place, free_port(), port)
    identity.add_user("alice", keys("alice").with_suffix(".pub"))
    for name in ("bob", "carol"):  # Carol never logs in
        identity.add_user(name, keys(name).with_suffix(".pub"))
    agent = Agent(place, identity.write_config(place.directory / "site.json"), "agent-site")
    return Site(identity, agent, Sshd(place, agent.runtime, port))


@dataclass
class FakeSite:
    """An identity service whose answers the test chooses, with an agent and an sshd of its own."""

    server: IdentityServer
    agent: Agent
    sshd: Sshd

    def log(self) -> str:
        return self.agent.place.log(self.agent.name)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [event for event in lines if event["event"] == name]


MakeFakeSite = Callable[..., FakeSite]


@pytest.fixture
def fake_site(place: Place) -> Iterator[MakeFakeSite]:
    made: list[FakeSite] = []

    def make(**config: Any) -> FakeSite:
        server = IdentityServer()
        name = f"agent-{next(NUMBERS)}"
        path = place.directory / f"{name}.json"
        values = server.config(login_path=str(place.libexec / "sshaft-login"), **config)
        path.write_text(json.dumps(values))
        agent = Agent(place, place.give(path, AGENT, 0o400), name)
        site = FakeSite(server, agent, Sshd(place, agent.runtime, free_port()))
        made.append(site)
        return site

    yield make
    for site in made:
        place.stop(site.sshd.process)
        place.stop(site.agent.process)
        site.server.close()


@pytest.fixture
def standalone(place: Place) -> Iterator[Callable[..., Sshd]]:
    """An sshd whose commands ask the identity service themselves, as in the original: both accounts read the config."""
    made: list[Sshd] = []

    def make(source: IdentityServer | Identity, **changes: str) -> Sshd:
        path = place.directory / f"standalone-{next(NUMBERS)}.json"
        if isinstance(source, Identity):
            source.write_config(path)
        else:
            path.write_text(json.dumps(source.config(login_path=str(place.libexec / "sshaft-login"))))
        place.give(path, KEYS, 0o440, group=LOGIN)
        command = place.keys_command(f"--config {path} --fingerprint %f --type %t --key %k")
        sshd = Sshd(place, place.directory, free_port(), {"AuthorizedKeysCommand": command, **changes})
        made.append(sshd)
        return sshd

    yield make
    for sshd in made:
        place.stop(sshd.process)
