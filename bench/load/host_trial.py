"""Sets up host login for the comparisons: a provider that approves at once, the agent, and sshds with a PAM stack each.

As root every part has its own account. As an ordinary user all parts are that user's.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from sshaft_demo.host import MODULE, DemoProvider, HostSshd
from sshaft_demo.parts import Agent, connects, free_port, wait_for
from sshaft_demo.place import Place, StartError

PERMIT = """\
auth    required pam_permit.so
account required pam_permit.so
session required pam_permit.so
"""
"""The PAM stack of the limit."""
_PROGRAM = Path(__file__).parent / "device_provider.py"


@dataclass
class BenchProvider(DemoProvider):
    """A running `device_provider.py`, which waits `delay` seconds before each answer."""

    delay: float = 0.0

    def __post_init__(self) -> None:
        self.issuer = f"http://127.0.0.1:{self.port}"
        program = self.place.directory / _PROGRAM.name
        program.write_bytes(_PROGRAM.read_bytes())
        command = [*self.place.python(), program, str(self.port), self.place.person, str(self.delay)]
        process = self.place.start("provider", command)
        wait_for(lambda: connects(self.port), process, lambda: self.place.log("provider"), "the provider")

    @contextmanager
    def approving_nobody(self) -> Iterator[None]:
        """Lets logins wait that begin meanwhile."""
        self._approve("no")
        try:
            yield
        finally:
            self._approve("yes")

    def _approve(self, answer: str) -> None:
        requests.post(f"{self.issuer}/approving", data=answer, timeout=10).raise_for_status()

    def late(self) -> list[float]:
        """Returns how many seconds late each poll was since the last call."""
        late: list[float] = requests.get(f"{self.issuer}/late", timeout=10).json()["late"]
        return late


@dataclass
class HostTrial:
    place: Place
    provider: BenchProvider
    agent: Agent

    @property
    def socket(self) -> Path:
        return self.agent.runtime / "host" / "agent.sock"

    def sshd(self) -> HostSshd:
        """Starts an sshd with our module."""
        return HostSshd(self.place, self.socket, free_port())

    def permitting_sshd(self) -> HostSshd:
        """Starts the sshd of the limit."""
        return HostSshd(self.place, self.socket, free_port(), stack=PERMIT)

    def log_in(self, sshd: HostSshd) -> float:
        """Runs one real ssh to its end, and presses Enter. Returns its seconds.

        Raises `StartError` if the login fails. It may, if the machine stands still for two seconds: ssh answers each
        prompt at once, and the agent ends a login that is answered twice at once.
        """
        environment = {"PATH": os.defpath, "SSH_ASKPASS": "/bin/true", "SSH_ASKPASS_REQUIRE": "force"}
        began = time.perf_counter()
        done = subprocess.run(
            sshd.command(self.place.person, "true"), env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            logs = "".join(self.place.log(name)[-1500:] for name in ("sshd", "agent"))
            raise StartError(f"a login failed: {done.stderr[-500:]}\n{logs}")
        return time.perf_counter() - began


@contextmanager
def host_trial(delay: float = 0.0) -> Iterator[HostTrial]:
    if not MODULE.exists():
        sys.exit("native/pam_sshaft.so is missing: ./dev setup host")
    with Place() as place:
        provider = BenchProvider(place, free_port(), delay)
        settings = {"pending_per_user": 100, "pending_per_source": 10_000, "enter": "always"}
        agent = Agent(place, provider.write_config(client_id="bench", **settings))
        yield HostTrial(place, provider, agent)
