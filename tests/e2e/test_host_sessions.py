"""Tests that the identity service knows who is logged in to a host, and that a revocation ends these sessions.

Real parts: identity service, agent, sshaft-accounts, the PAM stack of `sshaft host enable`, sshd, ssh, and the page.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes.first_login_machine import FirstLoginMachine

from sshaft_demo.approval import ASKS, Approver, Visit
from sshaft_demo.host import DemoProvider, Terminal
from sshaft_demo.parts import connects, free_port, wait_for
from sshaft_demo.place import SSHD, Place
from sshaft_demo.provider import CLIENT_ID

pytestmark = pytest.mark.root
LIMITS = {"pending_per_user": 10, "pending_per_source": 10}
MINUTE = 60


@dataclass
class Host:
    """A host whose logins are approved at `approver`, and whose accounts are made at the first login."""

    place: Place
    machine: FirstLoginMachine
    approver: Approver
    port: int
    key: Path
    terminals: list[Terminal] = field(default_factory=list)

    def log_in(self, user: str, *, key: bool = False) -> Terminal:
        """Opens a session that waits, with an approval or with a key."""
        methods = "publickey" if key else "keyboard-interactive"
        options = {"UserKnownHostsFile": self.place.known_hosts, "PreferredAuthentications": methods,
                   "IdentityFile": self.key, "IdentitiesOnly": "yes"}  # fmt: skip
        own = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        command = "sleep 1000 & echo is-in; sleep 1000"
        terminal = Terminal(["ssh", "-F", "none", "-p", str(self.port), *own, f"{user}@127.0.0.1", command])
        self.terminals.append(terminal)
        if not key:
            visit = Visit(terminal.wait_for(ASKS)).sign_in(user).press("approve")
            assert visit.digits, visit.text
            terminal.type(f"{visit.digits}\n")
        said = terminal.wait_for("is-in")
        assert "is-in" in said, said + self.machine.agent.output
        return terminal

    def sessions(self, user: str) -> list[dict[str, Any]]:
        """Returns the sessions of the user that the identity service knows."""
        shown: list[dict[str, Any]] = json.loads(self.approver.identity.run("user", "show", user, "--json"))[
            "host_sessions"
        ]
        return shown

    def processes(self, user: str) -> list[int]:
        uid = subprocess.run(self.machine.command("id", "-u", user), capture_output=True, text=True, check=True).stdout
        return self.machine.processes(int(uid))


@pytest.fixture
def host(shared_host: Host) -> Iterator[Host]:
    """Returns the host. A test that fails leaves no session to the next one."""
    yield shared_host
    for terminal in shared_host.terminals:
        terminal.kill()
    shared_host.terminals.clear()


@pytest.fixture(scope="module")
def shared_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Place() as place:
        provider = DemoProvider(place, free_port(), others=("newbie", "second"))
        approver = Approver(place, provider, free_port())
        for name in ("newbie", "second"):
            approver.identity.add_user(name)
        members = {"issuer": provider.issuer, "client_id": CLIENT_ID, "approval": approver.settings()}
        with FirstLoginMachine(tmp_path_factory.mktemp("machine"), **members, **LIMITS) as machine:
            port, key = free_port(), place.generate_key("key")
            authorized = place.directory / "authorized_keys"
            authorized.write_text(key.with_suffix(".pub").read_text())
            machine.add_to_sshd(f"AuthorizedKeysFile {authorized}", "PermitRootLogin no")
            status, said = machine.enable("--require-approval", "--break-glass", "ops")
            assert status == 0, said
            options = ("-p", str(port), "-h", place.directory / "ssh_host_ed25519_key", "-o", "PidFile=none")
            with place.log_path("sshd").open("wb") as log:
                process = subprocess.Popen(machine.command(SSHD, "-D", "-e", *options), stdout=log, stderr=log)
            try:
                wait_for(lambda: connects(port), process, lambda: place.log("sshd"), "sshd")
                yield Host(place, machine, approver, port, key)
            finally:
                process.terminate()
                process.wait(10)


def becomes(is_so: Callable[[], bool], seconds: float = MINUTE) -> bool:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.5)
    return is_so()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_revocation_of_one_person_ends_their_sessions_within_a_minute_and_nobody_elses(host: Host) -> None:
    sessions = [host.log_in("newbie"), host.log_in("newbie", key=True)]
    others = host.log_in("second")
    assert becomes(lambda: len(host.sessions("newbie")) == 2), host.machine.agent.output
    assert becomes(lambda: len(host.sessions("second")) == 1)
    first, by_key = sorted(host.sessions("newbie"), key=lambda each: not each["is_proven"])
    assert (first["is_proven"], by_key["is_proven"]) == (True, False)
    assert (first["account"], first["service"], first["source"]) == ("newbie", "sshd", "127.0.0.1")
    host.approver.identity.run("user", "sign-out", "newbie")
    for each in sessions:
        assert each.end(MINUTE)[1] == 255
    assert becomes(lambda: host.processes("newbie") == [], 10)
    assert becomes(lambda: host.sessions("newbie") == [])
    assert len(host.sessions("second")) == 1
    assert host.processes("second") != []
    again = host.log_in("newbie")  # the account is not locked
    assert becomes(lambda: len(host.sessions("newbie")) == 1)
    for each in (again, others):
        each.type("\x03")
        each.end()
    assert becomes(lambda: host.sessions("newbie") == host.sessions("second") == [])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_session_is_known_after_the_agent_was_killed_and_one_that_ended_meanwhile_is_not(host: Host) -> None:
    kept, ended = host.log_in("newbie"), host.log_in("second")
    assert becomes(lambda: len(host.sessions("newbie")) == len(host.sessions("second")) == 1)
    host.machine.kill_agent()
    ended.type("\x03")
    ended.end()
    host.machine.start_agent()
    assert becomes(lambda: host.sessions("second") == [])
    assert len(host.sessions("newbie")) == 1
    host.approver.identity.run("user", "sign-out", "newbie")
    assert kept.end(MINUTE)[1] == 255
