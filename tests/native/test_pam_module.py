"""Tests pam_sshaft with a real libpam: what it asks, what it shows, and that it denies whatever it does not know."""

import os
import re
import shutil
import socket
import subprocess
import time
from itertools import product
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from fakes.unix_server import UnixServer, read_question
from native.pam_stack import (
    AUTH_ERR,
    CONV_ERR,
    IGNORED,
    MAXTRIES,
    PERM_DENIED,
    PROMPT,
    SUCCESS,
    SYSTEM_ERR,
    UNAVAILABLE,
    USER_UNKNOWN,
    Stack,
    result,
    saying,
)
from process.keys.conftest import NATIVE

from sshaft import messages

AS_INSTALLED = pytest.mark.parametrize("stack", ["built"], indirect=True)


def test_login_shows_what_the_agent_says_and_sends_what_is_typed(stack: Stack) -> None:
    heard: list[Any] = []

    def agent(connection: socket.socket) -> None:
        heard.append(read_question(connection))
        connection.sendall(messages.encode("wait", {}) + messages.encode("info", {"text": "Hello 100%s"}))
        connection.sendall(messages.encode("prompt", {"text": "Your \u00e9 code: ", "echo": "yes"}))
        heard.append(read_question(connection))
        connection.sendall(messages.encode("prompt", {"text": "Token: ", "echo": "no"}))
        heard.append(read_question(connection))
        connection.sendall(result("success"))

    stack.arguments = "timeout=30 config=/etc/other.json debug"
    with UnixServer(stack.path, agent):
        status, shown = stack.run("ab c%\x1b", "x" * 5000)
    assert status == SUCCESS
    assert "info: Hello 100%s\necho: Your \u00e9 code: \nhidden: Token: \n" in shown
    # test_agent_is_told_which_connection_it_is knows their values
    assert heard[0][1].pop("began").isdigit()
    assert heard[0][1].pop("pid").isdigit()
    assert heard == [
        ("login", {"user": "alice", "service": "sshd", "rhost": "192.0.2.7", "tty": "ssh", "timeout": "30",
                   "ssh_auth_info": "publickey ssh-ed25519 AAAA", "config": "/etc/other.json"}),
        ("answer", {"text": "ab c%\x1b"}),
        ("answer", {"text": "x" * 5000}),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["auth", "account", "open", "close"])
def test_agent_is_told_which_connection_it_is(stack: Stack, kind: str) -> None:
    """sshd leads a session for each connection. Its name has blanks and brackets here, as it may have on a host."""
    heard: list[Any] = []

    def agent(connection: socket.socket) -> None:
        heard.append(read_question(connection))
        connection.sendall(result("success"))

    named = stack.folder / "sshd: ) 1 (x"
    shutil.copy("/bin/sh", named)
    stack.watch = ["setsid", "-w", str(named), "-c", '"$@"; exit $?', "sh"]
    before = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
    with UnixServer(stack.path, agent):
        assert stack.run(phase=kind)[0] == SUCCESS
    after = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
    assert before - 10 <= int(heard[0][1]["began"]) <= after
    assert int(heard[0][1]["pid"]) > 0


@pytest.mark.parametrize(
    ("word", "login", "account"),
    [
        ("success", SUCCESS, SUCCESS),
        ("denied", AUTH_ERR, PERM_DENIED),
        ("final", MAXTRIES, PERM_DENIED),
        ("unknown_user", USER_UNKNOWN, USER_UNKNOWN),
        ("unavailable", UNAVAILABLE, UNAVAILABLE),
        ("ignore", IGNORED, IGNORED),
        ("succes", SYSTEM_ERR, SYSTEM_ERR),
        ("SUCCESS", SYSTEM_ERR, SYSTEM_ERR),
        ("success ", SYSTEM_ERR, SYSTEM_ERR),
        ("", SYSTEM_ERR, SYSTEM_ERR),
        ("0", SYSTEM_ERR, SYSTEM_ERR),
    ],
)
def test_result_is_one_of_a_list(stack: Stack, word: str, login: int, account: int) -> None:
    with UnixServer(stack.path, saying(result(word, reason="why %n"))):
        assert stack.run()[0] == login
        assert stack.run(phase="account")[0] == account


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"sshaft/1 result\nresult success\n"],
        [b"sshaft/2 result\nresult success\n\n"],
        [b"garbage\n\n"],
        [b"sshaft/1 result\nresult success\nresult success\n\n"],
        [b"sshaft/1 result\nresult success\xff\n\n"],
        [b"x" * 70_000],
        [b"sshaft/1 info\ntext " + b"x" * 70_000 + b"\n\n"],
        [b"sshaft/1 success\n\n"],
        [messages.encode("prompt", {"echo": "yes"})],
        [messages.encode("prompt", {"text": "a\0b", "echo": "yes"})],
        [messages.encode("info", {}), result("success")],
        [messages.encode("error", {"reason": "busy"})],
        [result("denied") + result("success")],
        [messages.encode("prompt", {"text": "Code: "}), b"sshaft/1 result\n"],
    ],
    ids=["nothing", "cut off", "other version", "garbage", "twice", "no text", "no end", "too long", "other kind",
         "no text to show", "NUL", "empty information", "an error", "the first counts", "ends after a prompt"],
)  # fmt: skip
def test_agent_that_breaks_the_rules_lets_nobody_in(stack: Stack, parts: list[bytes]) -> None:
    with UnixServer(stack.path, saying(*parts)):
        assert stack.run("123")[0] in (AUTH_ERR, SYSTEM_ERR, UNAVAILABLE)


def test_person_who_leaves_is_told_to_the_agent(stack: Stack) -> None:
    heard = SimpleQueue[Any]()

    def agent(connection: socket.socket) -> None:
        read_question(connection)
        connection.sendall(messages.encode("prompt", {"text": "Code: ", "echo": "yes"}))
        heard.put(read_question(connection))
        connection.sendall(result("success"))

    with UnixServer(stack.path, agent):
        assert stack.run()[0] == CONV_ERR
        assert heard.get(timeout=10) == ("failed", {"code": str(CONV_ERR)})


def test_person_reads_what_an_agent_has_said_that_stops_during_a_prompt(stack: Stack) -> None:
    def stop(connection: socket.socket) -> None:
        read_question(connection)
        connection.sendall(messages.encode("prompt", {"text": "Code: ", "echo": "yes"}))
        connection.sendall(messages.encode("info", {"text": "Run ssh again."}) + result("unavailable"))

    with UnixServer(stack.path, stop):
        status, shown = stack.run("123")
    assert status == UNAVAILABLE
    assert "info: Run ssh again." in shown


@pytest.mark.parametrize(
    "arguments",
    ["timeout=0", "timeout=-1", "timeout=99999999999999999999", "timeout=1x", "timeout=", "sockets=/x", "socket=x",
     "config=relative", "break_glass=", "Debug", "debug=1"],
)  # fmt: skip
def test_wrong_argument_denies(stack: Stack, arguments: str) -> None:
    stack.arguments = arguments
    with UnixServer(stack.path, saying(result("success"))) as agent:
        assert stack.run()[0] == SYSTEM_ERR
        assert agent.asked == []


@pytest.mark.parametrize("arguments", ["config=/etc/x.json logs=/var/log/x log_level=warn", "/etc/x.json"])
def test_arguments_of_other_modules_are_read(stack: Stack, arguments: str) -> None:
    heard: list[Any] = []

    def agent(connection: socket.socket) -> None:
        heard.append(read_question(connection)[1]["config"])
        connection.sendall(result("success"))

    stack.arguments = arguments
    with UnixServer(stack.path, agent):
        assert stack.run()[0] == SUCCESS
    assert heard == ["/etc/x.json"]


def test_root_is_never_asked_for(stack: Stack) -> None:
    def agent(connection: socket.socket) -> None:
        raise AssertionError(connection)

    with UnixServer(stack.path, agent):
        assert stack.run(user="root")[0] == IGNORED
        assert stack.run(user="root", phase="account")[0] == IGNORED


def test_emergency_accounts_are_left_to_the_other_modules(stack: Stack) -> None:
    stack.arguments = "break_glass=admin,ops"
    for user in ("admin", "ops"):
        assert stack.run(user=user)[0] == IGNORED
        assert stack.run(user=user, phase="account")[0] == IGNORED
    for user in ("admi", "admin,", "admin,ops", "op", "s", ",", "adminops"):
        assert stack.run(user=user)[0] == UNAVAILABLE


def test_missing_agent_is_unavailable_at_once(stack: Stack) -> None:
    assert stack.run()[0] == UNAVAILABLE
    stack.path.touch()
    assert stack.run()[0] == UNAVAILABLE
    stack.arguments = "socket=/" + "x" * 200
    assert stack.run()[0] == UNAVAILABLE


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
def test_folder_that_others_can_change_is_refused(stack: Stack, mode: int) -> None:
    with UnixServer(stack.path, saying(result("success"))):
        stack.folder.chmod(mode)
        assert stack.run()[0] == UNAVAILABLE
        stack.folder.chmod(0o755)
        assert stack.run()[0] == SUCCESS


def test_symbolic_link_in_the_path_is_refused(stack: Stack) -> None:
    (stack.folder / "real").mkdir(mode=0o755)
    (stack.folder / "link").symlink_to("real")
    with UnixServer(stack.folder / "real" / "agent.sock", saying(result("success"))):
        stack.arguments = f"socket={stack.folder}/link/agent.sock"
        assert stack.run()[0] == UNAVAILABLE
        stack.arguments = f"socket={stack.folder}/real/agent.sock"
        assert stack.run()[0] == SUCCESS


@pytest.mark.root
@pytest.mark.parametrize(("folder", "server", "status"), [(64801, 64801, SUCCESS), (64801, 64802, UNAVAILABLE)])
def test_only_the_owner_of_the_folder_or_root_may_be_the_agent(
    stack: Stack, folder: int, server: int, status: int
) -> None:
    (stack.folder / "host").mkdir(mode=0o755)
    os.chown(stack.folder / "host", folder, folder)
    path = stack.folder / "host" / "agent.sock"
    program = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o666);"
        f"os.setuid({server}); s.listen(); print('ready', flush=True); c = s.accept()[0]; c.recv(9999);"
        "c.sendall(b'sshaft/1 result\\nresult success\\n\\n')"
    )
    agent = subprocess.Popen(["python3", "-c", program, path], stdout=subprocess.PIPE)
    assert agent.stdout
    assert agent.stdout.readline() == b"ready\n"
    stack.arguments = f"socket={path}"
    try:
        assert stack.run()[0] == status
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()


@pytest.mark.root
def test_path_through_the_folders_of_two_accounts_is_refused(stack: Stack) -> None:
    deep = stack.folder / "host" / "deep"
    deep.mkdir(parents=True, mode=0o755)
    os.chown(deep.parent, 64801, 64801)
    stack.arguments = f"socket={deep}/agent.sock"
    with UnixServer(deep / "agent.sock", saying(result("success"))):
        os.chown(deep, 64802, 64802)
        assert stack.run()[0] == UNAVAILABLE
        os.chown(deep, 64801, 64801)
        assert stack.run()[0] == SUCCESS


def test_empty_name_lets_nobody_in(stack: Stack) -> None:
    with UnixServer(stack.path, saying(result("success"))) as agent:
        assert stack.run(user="")[0] not in (SUCCESS, IGNORED)
        assert agent.asked == []


@pytest.mark.parametrize("phase", ["setcred", "open", "close"])
def test_other_phases_pass_without_an_agent(stack: Stack, phase: str) -> None:
    assert stack.run(phase=phase)[0] == SUCCESS


@pytest.mark.parametrize(("phase", "kind"), [("open", "session_open"), ("close", "session_close")])
def test_session_is_told_to_the_agent_in_one_question(stack: Stack, phase: str, kind: str) -> None:
    heard: list[Any] = []

    def agent(connection: socket.socket) -> None:
        heard.append(read_question(connection))
        connection.sendall(result("success"))

    with UnixServer(stack.path, agent):
        status, shown = stack.run(phase=phase)
    assert status == SUCCESS
    assert "info:" not in shown
    ((told, fields),) = heard
    assert told == kind
    assert fields.keys() == {"user", "service", "rhost", "tty", "pid", "began"}
    assert fields.items() >= {"user": "alice", "service": "sshd", "rhost": "192.0.2.7", "tty": "ssh"}.items()


@pytest.mark.parametrize("phase", ["open", "close"])
@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"garbage\n\n"],
        [b"x" * 70_000],
        [result("denied", reason="why %n")],
        [messages.encode("prompt", {"text": "Password: ", "echo": "no"})],
        [messages.encode("info", {"text": "x"}), result("denied")],
    ],
)
def test_session_opens_whatever_the_agent_says_and_nobody_is_asked(
    stack: Stack, phase: str, parts: list[bytes]
) -> None:
    with UnixServer(stack.path, lambda connection: [read_question(connection), *map(connection.sendall, parts)]):
        status, shown = stack.run(phase=phase)
    assert status == SUCCESS
    assert "info:" not in shown
    assert "hidden:" not in shown


@pytest.mark.parametrize("phase", ["open", "close"])
def test_frozen_agent_delays_a_session_by_half_a_second(stack: Stack, phase: str) -> None:
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(stack.path))
        frozen.listen()
        began = time.monotonic()
        assert stack.run(phase=phase)[0] == SUCCESS
        assert 0.4 < time.monotonic() - began < 5  # a loaded machine
    assert "it does not know of this session" in stack.log


def test_sessions_of_root_and_of_emergency_accounts_are_told_to_nobody(stack: Stack) -> None:
    stack.arguments = "break_glass=alice,carol"
    with UnixServer(stack.path, saying(result("success"))) as agent:
        for user in ("root", "alice", "carol"):
            for phase in ("open", "close"):
                assert stack.run(user=user, phase=phase)[0] == SUCCESS
        assert agent.asked == []
    assert "emergency" not in stack.log


def test_wrong_argument_denies_no_session(stack: Stack) -> None:
    stack.arguments = "colour=green"
    assert stack.run(phase="open")[0] == SUCCESS


@AS_INSTALLED
@pytest.mark.parametrize("phase", ["auth", "open"])
def test_three_thousand_rounds_in_one_process_keep_no_memory(stack: Stack, phase: str) -> None:
    says = [PROMPT, result("success")] if phase == "auth" else [result("success")]
    with UnixServer(stack.path, saying(*says)):
        status, shown = stack.run("123456", phase=phase, rounds=3000)
    assert status == SUCCESS
    grown = re.search(r"grown: (-?\d+) kB", shown)
    assert grown
    assert int(grown[1]) < 500


@AS_INSTALLED
@pytest.mark.parametrize("phase", ["auth", "open", "close"])
def test_valgrind_finds_no_fault_in_the_module(stack: Stack, phase: str) -> None:
    if not shutil.which("valgrind"):
        pytest.skip("needs valgrind: ./dev setup test")
    report = stack.folder / "valgrind"
    stack.watch = ["valgrind", "--leak-check=full", "--track-fds=yes", f"--log-file={report}"]
    says = (messages.encode("info", {"text": "x"}), PROMPT, result("denied", reason="no"))
    with UnixServer(stack.path, saying(*(says if phase == "auth" else [result("success")]))):
        assert stack.run("123456", phase=phase)[0] == (AUTH_ERR if phase == "auth" else SUCCESS)
    told = report.read_text()
    # libpam and its wrapper have faults of their own. None of them may go through the module.
    assert "pam_sshaft" not in told.replace(str(stack.folder), "").replace("pam_sshaft.so socket", ""), told


def test_module_needs_only_libc_and_libpam(built: Path) -> None:
    told = subprocess.run(
        ["readelf", "-dW", built / "pam_sshaft.so"], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert sorted(re.findall(r"\(NEEDED\).*\[(.*)\]", told)) == ["libc.so.6", "libpam.so.0"]
    assert "BIND_NOW" in told


def test_fuzzing_the_answers_of_the_agent_lets_nobody_in_against_the_rules(tmp_path: Path) -> None:
    if not shutil.which("clang"):
        pytest.skip("needs clang: ./dev setup test")
    target, corpus = tmp_path / "fuzz_pam", tmp_path / "corpus"
    corpus.mkdir()
    worlds = (4, 8 + 16, 32, 64)  # the options of the target
    first = [
        b"", PROMPT, messages.encode("wait", {}) + messages.encode("info", {"text": "x"}), messages.encode("info", {}),
        messages.encode("prompt", {"text": "a\0b"}), b"garbage\n\n", result("denied", reason="no %n"),
    ]  # fmt: skip
    for number, (world, said) in enumerate(product(worlds, first)):
        (corpus / str(number)).write_bytes(bytes([world]) + said + result("success"))
    command = ["make", "-s", "-C", NATIVE, "TARGET=fuzz_pam", f"FUZZ_OUT={target}", target]
    subprocess.run(command, check=True, timeout=120)
    runs = ["-runs=30000", "-max_len=400", "-len_control=0", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([target, *runs, corpus], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = re.findall(r"cov: (\d+)", done.stderr)
    assert int(found[-1]) > int(found[0])
