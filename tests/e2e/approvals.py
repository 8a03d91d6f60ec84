"""Starts a host whose logins are approved on the page of a real identity service."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from e2e.hosts import NO_BROWSER, Host

from sshaft_demo.approval import ASKS, Approver, Visit
from sshaft_demo.host import MODULE, DemoProvider, HostSshd, Terminal
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import AGENT, Place


@dataclass
class ApprovalHost(Host):
    """A host with host login by approvals, for the account `place.person`. The service also knows mallory."""

    approver: Approver

    def begin(self, *words: str, user: str = "") -> tuple[Terminal, Visit]:
        """Begins ssh, and opens the page that it shows in a browser."""
        terminal = self.ssh(*words, user=user)
        return terminal, Visit(terminal.wait_for(ASKS))

    def approve(self, visit: Visit, user: str = "") -> str:
        """Signs the person in on the page, and approves. Returns the digits."""
        digits = visit.sign_in(user or self.place.person).press("approve").digits
        assert len(digits) == 6, visit.text
        return digits


def wait_for_state(visit: Visit, state: str, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while visit.look().state != state and time.monotonic() < end:
        time.sleep(0.1)
    assert visit.state == state, visit.text


@contextmanager
def approval_host_in(place: Place, settings: str = "", **config: Any) -> Iterator[ApprovalHost]:
    """Yields a host. `settings` are lines of sshd_config, and `config` members of `host_login`.

    Without `issuer` in `config`, approvals are the only way to log in. `approval` there changes its members.
    """
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    provider = DemoProvider(place, free_port())
    approver = Approver(place, provider, free_port())
    approval = approver.settings(**config.pop("approval", {}))
    members = {"pending_per_user": 10, "pending_per_source": 10, "approval": approval}
    device = {} if config.pop("device", False) else dict.fromkeys(NO_BROWSER)
    path = provider.write_config(**device | members | config)
    agent = Agent(place, place.give(path, AGENT, 0o600))
    sshd = HostSshd(place, agent.runtime / "host" / "agent.sock", free_port(), settings)
    yield ApprovalHost(place, provider, agent, sshd, approver)
