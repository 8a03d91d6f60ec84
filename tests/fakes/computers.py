"""Gives a test computers with networks of their own, each connected with this machine and with the others."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest

_HOLD = 'hostname "$0" && ip link set lo up && echo ready && exec sleep infinity'


@dataclass(frozen=True)
class Computer:
    """A network namespace with one address and a host name. `pid` is a process in it."""

    address: str
    pid: int

    def command(self, *words: str | Path) -> list[str]:
        """Returns the command line that runs a program on this computer."""
        return ["nsenter", f"--target={self.pid}", "--net", "--uts", *map(str, words)]

    def run(self, *words: str) -> None:
        subprocess.run(self.command(*words), check=True, timeout=30)


@contextmanager
def computers(*names: str) -> Iterator[tuple[Computer, ...]]:
    """Yields this machine, and computers with these host names. It needs root.

    The addresses are of 198.18.0.0/15, which is for tests of networks (RFC 2544). The kernel removes the namespaces
    with their last process, and the cables with them.
    """
    if shutil.which("ip") is None:
        pytest.skip("needs ip: apt-get install iproute2")
    first = secrets.randbelow(2**14) * 8  # so that runs at the same time do not meet
    addresses = [f"198.{18 + (at >> 16)}.{at >> 8 & 255}.{at & 255}" for at in range(first + 1, first + 8)]
    with ExitStack() as stack:
        made = [Computer(addresses[0], os.getpid())]
        for name, address in zip(names, addresses[1:], strict=False):
            made.append(Computer(address, stack.enter_context(_namespaces(name))))
        for one, other in combinations(made, 2):
            _connect(one, other)
        yield tuple(made)


@contextmanager
def _namespaces(name: str) -> Iterator[int]:
    """Yields a process in a network of its own. The kernel ends it if the test is killed."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--uts", "sh", "-c", _HOLD, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


def _connect(one: Computer, other: Computer) -> None:
    """Lays a cable between two computers. Both keep their one address."""
    cable = f"ssh{secrets.token_hex(5)}"
    one.run("ip", "link", "add", cable, "type", "veth", "peer", "name", cable, "netns", str(other.pid))
    for own, peer in ((one, other), (other, one)):
        own.run("ip", "address", "add", own.address, "peer", peer.address, "dev", cable)
        own.run("ip", "link", "set", cable, "up")
