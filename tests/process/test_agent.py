"""Tests the agent as a real process: questions, signals, reload, status, and starts that must fail."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.agent_process import PROGRAM, AgentProcess
from fakes.identity_server import ERROR, IdentityServer, reply_json
from fakes.unix_server import UnixServer

from sshaft import agent_socket, messages, public_key
from sshaft.agent_socket import AgentUnavailableError

KEY = public_keys.ed25519()
TYPE, ENCODED = public_keys.of(KEY)
QUESTION = {"type": TYPE, "key": ENCODED, "fingerprint": public_key.parse(KEY).fingerprint, "request_id": "0" * 32}
SIGNED = {"key_type": TYPE, "key": ENCODED, "client_ip": "192.0.2.7"}
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for separate accounts")

WriteConfig = Callable[..., Path]


@pytest.fixture(scope="module")
def server() -> Iterator[IdentityServer]:
    with IdentityServer() as made:
        yield made


@pytest.fixture(scope="module")
def shared(server: IdentityServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """Runs one agent for all tests that do not change it."""
    place = tmp_path_factory.mktemp("agent")
    config = place / "config.json"
    config.write_text(json.dumps(server.config()))
    config.chmod(0o600)
    with AgentProcess(config, place / "run") as agent:
        yield agent


@pytest.fixture
def pending(server: IdentityServer) -> Iterator[IdentityServer]:
    server.entries = [{"user": "alice", "authorized_key": KEY}]
    server.calls.clear()
    yield server
    server.entries = []
    server.replies.clear()
    server.delay = 0.0


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def raw(path: Path, data: bytes) -> bytes:
    """Returns the agent's answer to these bytes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        try:
            connection.sendall(data)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            return b"reset"
        return answer


# --- questions


@pytest.mark.usefixtures("pending")
def test_one_login_from_key_to_accept(shared: AgentProcess, server: IdentityServer) -> None:
    ticket = shared.ticket(QUESTION)
    kind, answer = shared.ask("accept", ticket=ticket, **SIGNED)
    assert (kind, answer["state"]) == ("result", "accepted")
    assert server.accepted == ["alice"]
    again = shared.ask("accept", ticket=ticket, **SIGNED)[1]
    assert again == {"state": "passed_before", "reference": "0" * 32}


def test_unknown_key_gets_an_empty_answer(shared: AgentProcess) -> None:
    assert shared.ask("keys", **QUESTION) == ("keys", {"lines": ""})


BAD = {
    "not ours": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\n\n",
    "no kind": b"sshaft/1 \n\n",
    "another version": b"sshaft/2 keys\n\n",
    "no field": b"sshaft/1 keys\nfingerprint\n\n",
    "a field twice": b"sshaft/1 keys\na b\na c\n\n",
    "a raw byte": b"sshaft/1 keys\na \xff\n\n",
    "a bad escape": b"sshaft/1 keys\na %zz\n\n",
    "nothing": b"\n\n",
    "accept at keys": messages.encode("accept", {"ticket": "t", "key_type": TYPE, "key": ENCODED}),
    "status at keys": messages.encode("status", {}),
    "an unknown kind": messages.encode("reload", {}),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_message_gets_an_error(shared: AgentProcess, data: bytes) -> None:
    assert raw(shared.keys, data) == b"sshaft/1 error\nreason bad_message\n\n"
    assert shared.ask("status")[0] == "status"


@pytest.mark.parametrize("path", ["login", "status_socket"])
def test_each_socket_answers_only_its_own_kinds(shared: AgentProcess, path: str) -> None:
    assert raw(getattr(shared, path), messages.encode("keys", QUESTION)) == b"sshaft/1 error\nreason bad_message\n\n"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"type": TYPE},
        QUESTION | {"key": "x" * 60_000},
        QUESTION | {"fingerprint": "\0"},
        QUESTION | {"request_id": 'x", "level": "'},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_whole_message_with_odd_fields_gets_an_empty_answer(shared: AgentProcess, fields: dict[str, str]) -> None:
    assert shared.ask("keys", **fields) == ("keys", {"lines": ""})


@pytest.mark.parametrize("size", [65_537, 70_000, 1_000_000, 20_000_000])
def test_message_that_is_too_long_ends_the_connection(shared: AgentProcess, size: int) -> None:
    assert raw(shared.keys, b"sshaft/1 keys\na " + b"a" * size) in (b"", b"reset")
    assert shared.ask("status")[0] == "status"


def test_longest_message_is_accepted(shared: AgentProcess) -> None:
    data = messages.encode("keys", {"key": "x" * (messages.MAX_MESSAGE - len(b"sshaft/1 keys\nkey \n\n"))})
    assert len(data) == messages.MAX_MESSAGE
    assert raw(shared.keys, data) == b"sshaft/1 keys\nlines \n\n"


def test_half_a_message_gets_no_answer(shared: AgentProcess) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(shared.keys))
        connection.sendall(messages.encode("keys", QUESTION)[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""


def test_slow_senders_lose_their_connection_after_three_seconds_and_delay_nobody(
    shared: AgentProcess,
) -> None:
    slow = [socket.socket(socket.AF_UNIX) for _ in range(300)]
    began = time.monotonic()
    for connection in slow:
        connection.settimeout(6)
        connection.connect(str(shared.keys))
    stop = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.2):
                slow[0].sendall(b"s")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        asked = time.monotonic()
        assert shared.ask("status")[0] == "status"
        assert time.monotonic() - asked < 4
        for connection in slow[1:]:
            assert connection.recv(10) == b""
        assert 2.5 < time.monotonic() - began < 10.5
    finally:
        stop.set()
        dripping.join()
        for connection in slow:
            connection.close()


def test_hundred_processes_at_once_get_answers(shared: AgentProcess) -> None:
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: shared.ask("keys", **QUESTION), range(300)))
    assert [kind for kind, _ in answers] == ["keys"] * 300


def test_foreign_request_id_does_not_reach_the_service_and_a_failure_has_its_code(
    pending: IdentityServer, write_config: WriteConfig, tmp_path: Path
) -> None:
    with AgentProcess(write_config(pending.config()), tmp_path / "run") as agent:
        pending.replies["/keys"] = ERROR
        question = QUESTION | {"request_id": "a\r\nX-Evil: 1"}
        assert agent.ask("keys", **question) == ("error", {"reason": "identity_unavailable"})
        headers = pending.calls[-1].headers
        assert "x-evil" not in headers
        assert len(headers["x-request-id"]) == 32


# --- status


def test_status_is_printed_as_json(shared: AgentProcess) -> None:
    done = run("agent", "status", "--runtime-directory", shared.directory, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert set(facts) == {
        "version", "uptime_seconds", "identity_service", "access_token_seconds_left", "logins", "lookups",
        "list_requests", "accepted", "refused_configuration",
    }  # fmt: skip
    assert facts["uptime_seconds"] >= 0


def test_status_is_printed_for_people(shared: AgentProcess) -> None:
    done = run("agent", "status", "--runtime-directory", shared.directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert "identity service " in done.stdout
    assert "token" in done.stdout
    assert not any(secret in done.stdout for secret in ("s3cret", "token-"))


def test_status_of_no_agent_is_one_line(tmp_path: Path) -> None:
    done = run("agent", "status", "--runtime-directory", tmp_path)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith("sshaft: no agent answers at ")
    assert done.stderr.count("\n") == 1


def test_status_of_an_unknown_agent_is_one_line(tmp_path: Path) -> None:
    answers = (
        b"sshaft/1 error\nreason busy\n\n",
        b"sshaft/1 status\n\n",
        b"sshaft/1 status\njson x\n\n",
    )
    for number, answer in enumerate(answers):
        place = tmp_path / str(number)
        place.mkdir()
        with UnixServer(place / "status.sock", answer):
            done = run("agent", "status", "--runtime-directory", place)
        assert (done.returncode, done.stdout) == (69, "")
        assert done.stderr.startswith("sshaft: ")
        assert done.stderr.count("\n") == 1
        assert "\x1b" not in done.stderr


def test_status_shows_no_control_characters_of_whatever_answers(tmp_path: Path) -> None:
    """The operator's terminal obeys no account that has taken over the agent."""
    answer = messages.encode("status", {"json": json.dumps({"version\x1b[2J": "\x1b[2J"})})
    with UnixServer(tmp_path / "status.sock", answer):
        done = run("agent", "status", "--runtime-directory", tmp_path)
    assert (done.returncode, done.stdout) == (0, "version\\x1b[2J  \\x1b[2J\n")


# --- check


def test_check_says_whether_a_start_or_a_reload_would_take_the_file(
    server: IdentityServer, write_config: WriteConfig
) -> None:
    """Finding N13: `systemctl reload` runs this first, and fails for a wrong file."""
    right, wrong = write_config(server.config()), write_config(server.config(login_path="relative"), "wrong.json")
    done = run("agent", "check", "--config", right)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{right} is right.\n", "")
    done = run("agent", "check", "--config", wrong)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"sshaft: {wrong}: ")


# --- accounts


@pytest.fixture
def public_place() -> Iterator[Path]:
    """Makes a directory with a copy of the code, which other accounts can read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        shutil.copytree(Path(__file__).parents[2] / "sshaft", Path(name, "code", "sshaft"))
        yield Path(name)


ASK = """
import sys
sys.path.append(sys.argv[3])
from sshaft import agent_socket
try:
    print(agent_socket.ask(sys.argv[1], sys.argv[2], {}))
except OSError as error:
    print("refused", error)
"""


def ask_as(uid: int, groups: list[int], path: Path, kind: str) -> str:
    code = next(folder / "code" for folder in path.parents if (folder / "code").exists())
    return subprocess.run(
        ["/usr/bin/python3", "-I", "-c", ASK, path, kind, code],
        capture_output=True, text=True, check=True, user=uid, group=uid, extra_groups=groups, timeout=10,
    ).stdout  # fmt: skip


@pytest.mark.root
@root
def test_sockets_answer_their_own_user_and_nobody_else(server: IdentityServer, public_place: Path) -> None:
    config = public_place / "config.json"
    config.write_text(json.dumps(server.config()))
    config.chmod(0o600)
    options = ("--keys-user", "daemon", "--login-user", "nobody")
    with AgentProcess(config, public_place / "run", *options) as agent:
        assert "('keys', {'lines': ''})" in ask_as(1, [], agent.keys, "keys")
        assert "('result', {'state': 'invalid_ticket'})" in ask_as(65534, [], agent.login, "accept")
        # the other user cannot enter the directory
        assert "refused" in ask_as(65534, [], agent.keys, "keys")
        assert "refused" in ask_as(1, [], agent.login, "accept")
        # the uid is refused even if the file modes allow it
        assert "refused" in ask_as(65534, [1], agent.keys, "keys")
        assert "refused" in ask_as(0, [], agent.keys, "keys")
        assert "refused" in ask_as(1, [], agent.status_socket, "status")
        assert "('status'" in ask_as(0, [], agent.status_socket, "status")
        assert agent.event("peer.refused")["uid"] in (0, 65534)  # one a second; uid 1 was stopped by the mode
        # the agent's group may ask for the status; this agent runs as root
        assert agent.status_socket.stat().st_mode & 0o777 == 0o660
        assert "('status'" in ask_as(1, [0], agent.status_socket, "status")


@pytest.mark.root
@root
def test_other_accounts_can_neither_reach_the_status_nor_fill_the_log(
    pending: IdentityServer, public_place: Path
) -> None:
    """Finding S7: any local account stopped all logins through status.sock."""
    config = public_place / "config.json"
    config.write_text(json.dumps(pending.config()))
    config.chmod(0o600)
    flood = (
        "import socket, sys\nrefused = 0\nfor _ in range(2000):\n    s = socket.socket(socket.AF_UNIX)\n"
        "    try: s.connect(sys.argv[1])\n    except PermissionError: refused += 1\n    s.close()\nprint(refused)"
    )
    with AgentProcess(config, public_place / "run") as agent:
        command = ["/usr/bin/python3", "-I", "-c", flood, agent.status_socket]
        done = subprocess.run(command, capture_output=True, text=True, check=True, user=65534, group=65534, timeout=30)
        assert done.stdout == "2000\n"
        assert agent.ask("accept", ticket=agent.ticket(QUESTION), **SIGNED)[1]["state"] == "accepted"
        assert agent.events[-1]["event"] == "login.accepted"
        for _ in range(50):
            assert raw(agent.keys, b"\n\n").startswith(b"sshaft/1 error")
        assert agent.ask("status")[0] == "status"
        assert len([event for event in agent.events if event["event"] == "message.refused"]) < 10


@pytest.mark.root
@root
def test_status_tells_another_account_who_may_ask(
    shared: AgentProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Finding S7: the answer to another account said that no agent runs."""
    command = [*PROGRAM, "agent", "status", "--runtime-directory", str(shared.directory)]
    account: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    if error_of(account):
        pytest.skip("this checkout is closed to other accounts")
    for folder in (shared.directory, *shared.directory.parents):
        if folder.is_relative_to(tmp_path_factory.getbasetemp()) or folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, **account)
    assert (done.returncode, done.stdout) == (77, "")
    assert "run the command as root, or with `sudo -u root`" in done.stderr


def error_of(account: dict[str, Any]) -> str:
    """Returns the error of this account when it starts the interpreter, or an empty string."""
    try:
        command = [sys.executable, "-I", "-c", "import sshaft"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **account)
    except PermissionError as error:
        return str(error)
    return "Permission denied" if "ModuleNotFoundError" in done.stderr else done.stderr


@pytest.mark.root
@root
def test_agent_runs_as_an_ordinary_account(server: IdentityServer, public_place: Path) -> None:
    config = public_place / "config.json"
    config.write_text(json.dumps(server.config()))
    config.chmod(0o600)
    home = public_place / "home"
    home.mkdir()
    for path in (config, home):
        os.chown(path, 65534, 65534)
    account: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": [1]}
    if "Permission denied" in error_of(account):
        pytest.skip("this checkout is closed to other accounts; tests/e2e runs the agent as its own account anyway")
    with AgentProcess(
        config, home / "run", "--keys-user", "daemon", notify=public_place / "notify", **account
    ) as agent:
        assert "('keys', {'lines': ''})" in ask_as(1, [], agent.keys, "keys")
        assert "refused" in ask_as(0, [], agent.keys, "keys")
        assert "('status'" in ask_as(0, [], agent.status_socket, "status")
        assert not any(event["event"] == "agent.runs_as_root" for event in agent.events)
        # no process of the same account can read the secret from its memory
        assert Path(f"/proc/{agent.process.pid}/mem").stat().st_uid == 0
        assert agent.stop() == 0


def test_agent_leaves_no_core_file(shared: AgentProcess) -> None:
    limits = Path(f"/proc/{shared.process.pid}/limits").read_text().splitlines()
    (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
    assert core[4:6] == ["0", "0"]


# --- signals


def test_sigterm_removes_the_sockets_at_once_and_lets_a_running_request_end(
    pending: IdentityServer, write_config: WriteConfig, tmp_path: Path
) -> None:
    with AgentProcess(write_config(pending.config()), tmp_path / "run") as agent:
        ticket = agent.ticket(QUESTION)
        pending.delay = 0.6
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(agent.ask("accept", ticket=ticket, **SIGNED)))
        asking.start()
        while pending.count("/accept") == 0:
            time.sleep(0.01)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.notified() == "STOPPING=1"
        agent.event("agent.stopping")
        while any(path.exists() for path in (agent.keys, agent.login, agent.status_socket)):
            assert agent.process.poll() is None
            time.sleep(0.01)
        with pytest.raises(AgentUnavailableError):
            agent.ask("keys", **QUESTION)
        assert agent.process.poll() is None
        assert agent.wait() == 0
        asking.join()
        assert answers[0][1]["state"] == "accepted"
        assert agent.event("agent.stopped")


def test_stopping_agent_leaves_the_sockets_of_the_next_agent(
    pending: IdentityServer, write_config: WriteConfig, tmp_path: Path
) -> None:
    config = write_config(pending.config())
    with AgentProcess(config, tmp_path / "run") as old:
        ticket = old.ticket(QUESTION)
        pending.delay = 1.5
        asking = threading.Thread(target=lambda: old.ask("accept", ticket=ticket, **SIGNED))
        asking.start()
        while pending.count("/accept") == 0:
            time.sleep(0.01)
        old.process.send_signal(signal.SIGTERM)
        old.event("agent.stopping")
        with AgentProcess(config, tmp_path / "run", notify=tmp_path / "second") as new:
            assert old.process.poll() is None, "the test was too slow: the old agent has ended before"
            assert old.wait() == 0
            assert new.ask("status")[0] == "status"
            assert new.keys.exists()
        asking.join()


def test_reload_accepts_a_right_configuration_and_refuses_a_wrong_one(
    pending: IdentityServer, write_config: WriteConfig, tmp_path: Path
) -> None:
    """Finding N13: a refused reload looked like success."""
    config = write_config(pending.config())
    with AgentProcess(config, tmp_path / "run") as agent, IdentityServer() as other:
        other.entries = [{"user": "bob", "authorized_key": KEY}]

        def reload() -> str:
            agent.process.send_signal(signal.SIGHUP)
            assert agent.notified().startswith("RELOADING=1\nMONOTONIC_USEC=")
            ready, _, status = agent.notified().partition("\nSTATUS=")
            assert ready == "READY=1"
            return status

        def refused() -> str | None:
            refusal: str | None = json.loads(agent.ask("status")[1]["json"])["refused_configuration"]
            return refusal

        assert "restrict" in agent.ask("keys", **QUESTION)[1]["lines"]
        for wrong in ("{", json.dumps(other.config(login_path="relative")), json.dumps(other.config(extra="x"))):
            config.write_text(wrong)
            shown = reload()
            assert shown == f"A new configuration was refused, and the old one is in use: {refused()}"
            assert agent.event("config.refused")["message"].startswith(f"{config}: ")
            agent.ask("accept", ticket=agent.ticket(QUESTION), **SIGNED)
        assert other.calls == []
        assert pending.accepted[-3:] == ["alice"] * 3
        config.write_text(json.dumps(other.config()))
        assert (reload(), refused()) == ("", None)
        assert agent.event("config.reloaded")["path"] == str(config)
        assert agent.ask("accept", ticket=agent.ticket(QUESTION), **SIGNED)[1]["state"] == "accepted"
        assert other.accepted == ["bob"]


def test_no_secret_reaches_the_log(pending: IdentityServer, write_config: WriteConfig, tmp_path: Path) -> None:
    pending.entries = [{"user": "alice", "authorized_key": KEY, "challenge": "c", "binding": "code_in"}]
    pending.replies["/accept"] = reply_json({"error": "invalid_code"}, 403)
    with AgentProcess(write_config(pending.config()), tmp_path / "run", "--log-level", "debug") as agent:
        ticket = agent.ticket(QUESTION)
        agent.ask("accept", ticket=ticket, code="482913", **SIGNED)
        agent.ask("accept", ticket=ticket, code="482913", **SIGNED)
        agent.stop()
        for secret in (ticket, "482913", "s3cret", *pending.valid_tokens):
            assert secret not in agent.output
        assert all(line.startswith("{") for line in agent.output.splitlines())


# --- starts that must fail


def test_second_agent_on_one_directory_is_refused(shared: AgentProcess, write_config: WriteConfig) -> None:
    with IdentityServer() as server:
        done = run("agent", "--config", write_config(server.config()), "--runtime-directory", shared.directory)
    assert done.returncode == 78
    assert done.stderr.splitlines()[-1].startswith(f"sshaft: {shared.keys}: another agent is running there")
    assert shared.ask("status")[0] == "status"
    assert shared.ask("keys", **QUESTION)[0] == "keys"


def no_sockets(directory: Path) -> bool:
    return not any(path.is_socket() for path in directory.glob("**/*"))


@pytest.mark.parametrize("wrong", ["config", "keys user", "login directory", "status", "key"])
def test_failed_start_leaves_no_sockets(
    server: IdentityServer, write_config: WriteConfig, tmp_path: Path, wrong: str
) -> None:
    config, options, place = write_config(server.config()), [], tmp_path / "run"
    place.mkdir()
    match wrong:
        case "config":
            config = write_config(server.config(login_path="relative"))
        case "keys user":
            options = ["--keys-user", "nobody-here"]
        case "login directory":
            (place / "login").symlink_to(tmp_path)
        case "status":
            (place / "status.sock").mkdir()
        case "key":
            key = write_config("no PEM", "key.pem")
            config = write_config(
                server.config(token_endpoint_auth_method="private_key_jwt", private_key_file=str(key))
            )
    before = len(server.calls)
    done = run("agent", "--config", config, "--runtime-directory", place, *options)
    assert done.returncode == 78, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if "agent.runs_as_root" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("sshaft: ")
    assert no_sockets(place)
    assert len(server.calls) == before


def test_agent_loads_nothing_of_the_identity_service() -> None:
    code = "import sys; import sshaft_agent.commands; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"sshaft_identity", "sqlalchemy", "starlette", "uvicorn", "joserfc", "cryptography", "jinja2"}


def test_connection_answers_one_question_only(shared: AgentProcess) -> None:
    question = messages.encode("keys", QUESTION)
    assert raw(shared.keys, question + question) == messages.encode("keys", {"lines": ""})
    assert agent_socket.ask(str(shared.keys), "keys", QUESTION)[0] == "keys"
