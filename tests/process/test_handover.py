"""Tests that a new process takes over from a running one while logins go on, and that a broken one changes nothing."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fakes import public_keys
from fakes.agent_process import PROGRAM, AgentProcess
from fakes.identity_server import IdentityServer

from sshaft import agent_socket, public_key

KEY = public_keys.ed25519()
TYPE, ENCODED = public_keys.of(KEY)
QUESTION = {"type": TYPE, "key": ENCODED, "fingerprint": public_key.parse(KEY).fingerprint, "request_id": "0" * 32}
SIGNED = {"key_type": TYPE, "key": ENCODED, "client_ip": "192.0.2.7"}


@pytest.fixture
def server() -> Iterator[IdentityServer]:
    with IdentityServer() as made:
        made.entries = [{"user": "alice", "authorized_key": KEY}]
        yield made


@pytest.fixture
def agent(server: IdentityServer, tmp_path: Path) -> Iterator[AgentProcess]:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(server.config()))
    config.chmod(0o600)
    with AgentProcess(config, tmp_path / "run") as made:
        yield made


@contextmanager
def successor(agent: AgentProcess) -> Iterator[int]:
    """Makes a new process take the place of the agent. Yields its process id."""
    agent.process.send_signal(signal.SIGUSR2)
    said = agent.notified()
    while said == "READY=1":  # the successor says so before it is the main process
        said = agent.notified()
    assert said.startswith("MAINPID="), agent.output
    pid = int(said.removeprefix("MAINPID="))
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def accepted(path: str, ticket: str) -> str:
    return str(agent_socket.ask(path, "accept", {"ticket": ticket, **SIGNED})[1]["state"])


def line(agent: AgentProcess) -> tuple[str, str]:
    """Returns the socket and the ticket that a key line names."""
    words = agent.ask("keys", **QUESTION)[1]["lines"].split('"')[1].split()
    return words[words.index("--agent") + 1], words[words.index("--ticket") + 1]


def test_login_that_has_begun_ends_at_the_agent_that_knows_its_ticket(agent: AgentProcess) -> None:
    before = line(agent)
    with successor(agent):
        after = line(agent)
        assert before[0] != after[0]
        assert accepted(*before) == "accepted"
        assert accepted(*before) == "passed_before"
        assert accepted(*after) == "accepted"
        assert accepted(before[0], after[1]) == "invalid_ticket"
        assert accepted(after[0], before[1]) == "invalid_ticket"


def test_no_question_fails_while_a_new_agent_takes_over(agent: AgentProcess) -> None:
    """Each question has a connection of its own, as those of sshd have."""
    answers: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            answers.append(agent.ask("keys", **QUESTION)[1]["lines"])

    asking = threading.Thread(target=ask)
    asking.start()
    with successor(agent):
        ended.set()
        asking.join()
    assert len(answers) > 10
    assert all("restrict" in lines for lines in answers)


def test_retired_agent_leaves_the_sockets_of_its_successor(agent: AgentProcess) -> None:
    with successor(agent) as pid:
        agent.process.terminate()
        assert agent.process.wait(20) == 0
        assert accepted(*line(agent)) == "accepted"
        os.kill(pid, signal.SIGTERM)
        while any(path.is_socket() for path in agent.directory.glob("**/*")):
            time.sleep(0.01)


def test_agent_goes_on_if_the_new_process_does_not_start(agent: AgentProcess) -> None:
    right = agent.config.read_text()
    for wrong in ("{", "{}"):
        before = line(agent)
        agent.config.write_text(wrong)
        agent.process.send_signal(signal.SIGUSR2)
        assert agent.notified().startswith("STATUS=A new process did not start (")
        assert agent.event("successor.failed")["in_use"] == "the running process"
        assert accepted(*before) == "accepted"
        assert accepted(*line(agent)) == "accepted"
    assert not list(agent.directory.glob("**/*.sock.*"))
    agent.config.write_text(right)
    with successor(agent):
        assert accepted(*line(agent)) == "accepted"


def test_agent_of_an_environment_that_promises_a_predecessor_does_not_serve(agent: AgentProcess) -> None:
    """Somebody else's socket in the environment must not make an agent take the place of another one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.close()
        environment = {"PATH": os.environ["PATH"], "SSHAFT_PREDECESSOR": str(theirs.fileno())}
        command = [*PROGRAM, "agent", "--config", agent.config, "--runtime-directory", agent.directory]
        done = subprocess.run(command, env=environment, pass_fds=[theirs.fileno()], capture_output=True, text=True,
                              timeout=30, check=False)  # fmt: skip
    assert done.returncode == 75
    assert "the running process did not let this one take its place" in done.stderr
    assert not list(agent.directory.glob("**/*.sock.*"))
    assert accepted(*line(agent)) == "accepted"
