"""Tests the checks of the agent's folders, sockets and answers."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sshaft import messages
from sshaft_doctor import accounts, agent
from sshaft_doctor.accounts import Account
from sshaft_doctor.agent import Sockets, judge_account
from sshaft_doctor.findings import Finding, Severity

ME = accounts.of_uid(os.geteuid())
AGENT = Account("sshaft", 480, 480, frozenset({480, 481, 482}))
KEYS = Account("_sshaft-keys", 481, 481, frozenset({481}))
LOGIN = Account("mfa", 482, 482, frozenset({482}))


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Starts a server that gives this answer to every connection."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Sockets]:
    """Makes the folders of an agent of this account, and returns the paths of its sockets."""
    made = Sockets(tmp_path, tmp_path / "keys" / "agent.sock")
    with socket.socket(socket.AF_UNIX) as keys, socket.socket(socket.AF_UNIX) as login:
        for listening, path in ((keys, made.keys), (login, made.login)):
            path.parent.mkdir(mode=0o700)
            listening.bind(str(path))
            path.chmod(0o600)
        yield made


def status(**facts: object) -> bytes:
    return messages.encode("status", {"json": json.dumps(facts)})


def told(at: Sockets) -> list[Finding]:
    return [f for f in agent.examine(at, ME, ME) if f.check not in ("agent.account", "agent.folder")]


def test_sockets_are_those_of_the_command_line() -> None:
    assert agent.sockets("/run/x/keys/agent.sock", None) == Sockets(Path("/run/x"), Path("/run/x/keys/agent.sock"))
    assert agent.sockets("", Path("/run/y")).keys == Path("/run/y/keys/agent.sock")
    assert agent.sockets("", None).status == Path("/run/sshaft/status.sock")


def test_agent_that_answers_has_one_line(at: Sockets) -> None:
    with answering(at.status, status(identity_service="ok")):
        (found,) = told(at)
    assert (found.check, found.severity) == ("agent.status", Severity.OK)


def test_agent_without_its_identity_service_has_a_finding(at: Sockets) -> None:
    with answering(at.status, status(identity_service="down")):
        (found,) = told(at)
    assert (found.check, found.severity) == ("agent.service", Severity.ERROR)


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense", messages.encode("status", {}), messages.encode("x", {"json": "["})]
)
def test_server_that_is_no_agent_has_a_finding(at: Sockets, answer: bytes) -> None:
    with answering(at.status, answer):
        found = told(at)
    assert [(f.check, f.severity) for f in found] == [("agent.status", Severity.ERROR)]


def test_missing_agent_has_one_finding(at: Sockets, tmp_path: Path) -> None:
    at.keys.unlink()
    (found,) = told(at)
    assert (found.check, found.severity, found.remedy) == (
        "agent.status",
        Severity.ERROR,
        "systemctl start sshaft-agent",
    )
    (nowhere,) = agent.examine(agent.sockets("", tmp_path / "none"), None, None)
    assert nowhere.check == "agent.status"


def test_missing_socket_of_a_running_agent_has_a_finding(at: Sockets) -> None:
    at.login.unlink()
    with answering(at.status, status(identity_service="ok")):
        found = [f for f in told(at) if f.severity == Severity.ERROR]
    assert [f.check for f in found] == ["agent.login_socket"]


@pytest.mark.parametrize("mode", [0o755, 0o711, 0o770])
@pytest.mark.parametrize("which", ["keys", "login"])
def test_folder_of_a_socket_that_is_too_open_has_a_finding(at: Sockets, which: str, mode: int) -> None:
    (at.runtime / which).chmod(mode)
    with answering(at.status, status(identity_service="ok")):
        found = [f for f in told(at) if f.severity == Severity.ERROR]
    assert [f.check for f in found] == [f"agent.{which}_socket"]
    assert found[0].remedy.startswith(f"chmod 0710 {at.runtime / which}")


def test_runtime_folder_that_others_can_write_to_has_a_finding(at: Sockets) -> None:
    def folder() -> set[str]:
        return {f.where for f in agent.examine(at, ME, ME) if f.check == "agent.folder"}

    before = folder()  # folders above may be open, as /tmp is
    at.runtime.chmod(0o777)
    assert folder() - before == {str(at.runtime)}


@pytest.mark.parametrize(
    ("own", "severity", "word"),
    [
        (Account("root", 0, 0, frozenset({0})), Severity.WARNING, "runs as root"),
        (LOGIN, Severity.ERROR, "people log in to"),
        (KEYS, Severity.ERROR, "runs the keys command"),
    ],
)
def test_agent_without_an_account_of_its_own_has_a_finding(own: Account, severity: Severity, word: str) -> None:
    (found,) = judge_account(own, KEYS, LOGIN)
    assert (found.check, found.severity) == ("agent.account", severity)
    assert word in found.what


def test_agent_with_an_account_of_its_own_has_no_finding() -> None:
    assert judge_account(AGENT, KEYS, LOGIN) == []
    assert judge_account(AGENT, None, None) == []


def test_other_account_in_the_sockets_group_has_a_finding(at: Sockets) -> None:
    folder = at.keys.parent
    folder.chmod(0o710)
    group = folder.stat().st_gid
    user = Account("_sshaft-keys", 4_000_001, group, frozenset({group}))
    stranger = Account("mfa", 4_000_002, 4_000_002, frozenset({4_000_002}))
    joined = Account("mfa", 4_000_002, 4_000_002, frozenset({4_000_002, group}))
    at.keys.chmod(0o660)
    assert [f for f in agent.examine_socket(at.keys, ME, user, stranger, running=True) if "can enter" in f.what] == []
    (found,) = agent.examine_socket(at.keys, ME, user, joined, running=True)
    assert "mfa can enter" in found.what
    assert found.remedy == "gpasswd --delete mfa _sshaft-keys"
