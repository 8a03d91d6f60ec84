"""Tests what a key or a certificate opens on a host with host login: only accounts that somebody was approved for."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from e2e.hosts import Host, code_of, host_in

from sshaft_demo.host import HostSshd
from sshaft_demo.parts import free_port
from sshaft_demo.place import Place

Silence = Callable[[Host], AbstractContextManager[None]]
NOT_APPROVED = "Nobody has been approved for this account yet."


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Yields a host that accepts the key `key`, and the certificate of the key `certified`, for every account."""
    with Place() as place:
        key, authority, certified = (place.generate_key(name) for name in ("key", "authority", "certified"))
        names = f"{place.person},root"
        subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "id", "-n", names, f"{certified}.pub"], check=True)
        settings = (
            "PubkeyAuthentication yes\nPermitRootLogin prohibit-password\n"
            f"AuthorizedKeysFile {key}.pub\nTrustedUserCAKeys {authority}.pub\n"
        )
        with host_in(place, settings) as host:
            yield host


def log_in(host: Host, key: str, user: str = "") -> "subprocess.CompletedProcess[str]":
    """Logs in by a key or a certificate alone."""
    command = host.sshd.command(user or host.place.person, "echo in", key=host.place.directory / key)
    command[1:1] = ["-o", "PreferredAuthentications=publickey"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def frozen(host: Host) -> Iterator[None]:
    os.killpg(host.agent.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(host.agent.process.pid, signal.SIGCONT)


@contextmanager
def stopped(host: Host) -> Iterator[None]:
    host.place.stop(host.agent.process)
    try:
        yield
    finally:
        host.agent.process = host.agent.start()


def approve(host: Host) -> None:
    terminal = host.ssh("true")
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    assert terminal.end()[1] == 0


@pytest.mark.parametrize("key", ["key", "certified"])
def test_key_opens_an_account_from_the_first_approval_until_unbind(host: Host, key: str) -> None:
    refused = log_in(host, key)
    assert (refused.returncode, refused.stdout) == (255, "")
    assert NOT_APPROVED in refused.stderr
    approve(host)
    assert log_in(host, key).stdout == "in\n"
    host.run("accounts", "unbind", host.place.person)
    assert log_in(host, key).returncode == 255


def test_key_opens_nothing_while_the_agent_does_not_answer(host: Host) -> None:
    approve(host)
    try:
        with stopped(host):
            assert log_in(host, "key").returncode == 255
        with frozen(host):
            assert log_in(host, "key").returncode == 255
        assert log_in(host, "key").stdout == "in\n"
    finally:
        host.run("accounts", "unbind", host.place.person)


@pytest.mark.parametrize("silence", [stopped, frozen])
def test_root_and_emergency_accounts_need_no_agent(host: Host, silence: Silence) -> None:
    break_glass = f"break_glass={host.place.person}"
    emergency = HostSshd(host.place, host.sshd.socket, free_port(), host.sshd.settings, break_glass)
    there = Host(host.place, host.provider, host.agent, emergency)
    with silence(host):
        if host.place.accounts.separate:
            assert log_in(host, "key", user="root").stdout == "in\n"
        assert log_in(there, "key").stdout == "in\n"
