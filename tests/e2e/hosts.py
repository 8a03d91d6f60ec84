"""Starts a host with host login: the throwaway provider, the agent, and an sshd with our module in its PAM stack."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from sshaft_demo.host import CODE, MODULE, DemoProvider, HostSshd, Terminal
from sshaft_demo.parts import Agent, free_port, run
from sshaft_demo.place import AGENT, Place

PRESS_ENTER = "Press Enter"
AUDIENCE = "https://web1.example.org"
"""For whom the access tokens of `Host.token` are."""
NO_BROWSER = dict.fromkeys(("issuer", "client_id", "allow", "pending_per_user", "pending_per_source", "enter"))
"""Members of `host_login` that a host with token login alone does not have."""


@dataclass
class Host:
    """A host with host login for the account `place.person`. The provider also knows mallory."""

    place: Place
    provider: DemoProvider
    agent: Agent
    sshd: HostSshd

    def ssh(self, *words: str, user: str = "", key: Path | None = None) -> Terminal:
        return Terminal(self.sshd.command(user or self.place.person, *words, key=key))

    def token(self, user: str = "", audience: str = AUDIENCE) -> str:
        return access_token(self.provider, user or self.place.person, audience)

    def run(self, *words: str) -> str:
        """Runs `sshaft host WORDS` as an operator. Returns its standard output."""
        return run(self.place, self.place.sshaft("host", *words, "--runtime-directory", self.agent.runtime), AGENT)


def access_token(provider: DemoProvider, user: str, audience: str = AUDIENCE) -> str:
    """Returns an access token of a person: a JWT for this audience, or an opaque one without an audience."""
    return provider.access_token(audience, user)


def tokens(provider: DemoProvider, **changes: Any) -> list[dict[str, Any]]:
    """Returns `host_login.tokens`: everybody comes in with a token of the provider for `AUDIENCE`."""
    return [{"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}} | changes]


@contextmanager
def host_in(
    place: Place, settings: str = "", arguments: str = "", back_channel: Mapping[str, str] = MappingProxyType({}),
    **config: Any,
) -> Iterator[Host]:  # fmt: skip
    """Yields a host. `settings` are lines of sshd_config, `arguments` are of the module, `config` of `host_login`.

    A function in `config` is called with the provider. `back_channel`: who hears of sign-outs at the provider.
    """
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    provider = DemoProvider(place, free_port(), back_channel)
    config = {"pending_per_user": 10, "pending_per_source": 10, "enter": "always"} | config  # with every sshd
    config = {name: value(provider) if callable(value) else value for name, value in config.items()}
    agent = Agent(place, provider.write_config(**config))
    socket = agent.runtime / "host" / "agent.sock"
    yield Host(place, provider, agent, HostSshd(place, socket, free_port(), settings, arguments))


def code_of(terminal: Terminal) -> str:
    """Returns the code that ssh shows."""
    said = terminal.wait_for(PRESS_ENTER)
    found = CODE.search(said)
    assert found, said
    return found[0]
