"""Tests what the unmodified mccli says of an account that an operator must approve, or has suspended."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.hosts import AUDIENCE, access_token
from fakes.first_login_machine import RUNTIME, FirstLoginMachine
from providers.mccli import Mccli

from sshaft_demo.host import DemoProvider
from sshaft_demo.parts import HostApi, connects, free_port, wait_for
from sshaft_demo.place import SSHD, Place
from sshaft_demo.provider import CLIENT_ID

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]  # the first run installs mccli
LIMITS = {"pending_per_user": 10, "pending_per_source": 10, "enter": "always"}


@dataclass
class Host:
    """A host that makes accounts, after an approval. Its sshd asks for tokens."""

    provider: DemoProvider
    machine: FirstLoginMachine
    mccli: Mccli
    options: list[str | Path]

    def log_in(self, user: str) -> "subprocess.CompletedProcess[str]":
        token = access_token(self.provider, user)
        return self.mccli.run("ssh", "--token", token, *self.options, "127.0.0.1", "id -un")

    def operate(self, *words: str) -> None:
        status, said = self.machine.run("host", *words)
        assert status == 0, said


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("machine")
    with Place() as place:
        provider = DemoProvider(place, free_port())
        tokens = [{"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}}]
        own = {"issuer": provider.issuer, "client_id": CLIENT_ID, "create": {"approve": True}, "tokens": tokens}
        with FirstLoginMachine(folder, ("--api-user", "root"), **own, **LIMITS) as machine:
            port = free_port()
            assert machine.enable("--require-approval", "--break-glass", "ops")[0] == 0
            options = ("-p", str(port), "-h", place.directory / "ssh_host_ed25519_key", "-o", "PidFile=none")
            with place.log_path("sshd").open("wb") as log:
                sshd = subprocess.Popen(machine.command(SSHD, "-D", "-e", *options), stdout=log, stderr=log)
            try:
                wait_for(lambda: connects(port), sshd, lambda: place.log("sshd"), "sshd")
                api = HostApi(place, machine.root / RUNTIME.relative_to("/"), account=None)
                known = f"UserKnownHostsFile={place.known_hosts}"
                home = folder / "home"
                home.mkdir()
                yield Host(provider, machine, Mccli(home, api.url), ["-F", "none", "-p", str(port), "-o", known])
            finally:
                sshd.send_signal(signal.SIGTERM)
                sshd.wait(10)


def test_mccli_says_that_an_account_waits_for_an_approval_and_logs_in_afterwards(host: Host) -> None:
    for text in ("submitted for approval", "already submitted for approval"):
        done = host.log_in("newbie")
        assert done.returncode == 1
        assert text in done.stdout + done.stderr, done.stdout + done.stderr
    host.operate("accounts", "approve", "newbie")
    done = host.log_in("newbie")
    assert done.stdout.split() == ["newbie"], done.stdout + done.stderr + host.machine.agent.output


def test_mccli_says_that_an_account_is_rejected(host: Host) -> None:
    assert host.log_in("unwanted").returncode == 1
    host.operate("accounts", "approve", "unwanted", "--deny")
    done = host.log_in("unwanted")
    assert done.returncode == 1
    assert "rejected" in done.stdout + done.stderr, done.stdout + done.stderr


def test_mccli_shows_why_a_suspended_account_is_refused(host: Host) -> None:
    """It tries the login all the same."""
    host.log_in("leaver")
    host.operate("accounts", "approve", "leaver")
    assert host.log_in("leaver").stdout.split() == ["leaver"]
    host.operate("accounts", "suspend", "leaver")
    done = host.log_in("leaver")
    assert "Your account on this host is closed now." in done.stdout, done.stdout + done.stderr
    assert "Permission denied" in done.stdout
