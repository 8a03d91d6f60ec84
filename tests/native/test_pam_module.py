"""Tests pam_sshaft with a real libpam: what it asks, what it shows, and that it denies whatever it does not know.

libpam-wrapper shows libpam a folder of services, so the machine's own PAM is not touched.
"""

import glob
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes.unix_server import UnixServer, read_question

from sshaft import messages
from sshaft_demo.place import CHECKOUT

NATIVE = CHECKOUT / "native"
HERE = Path(__file__).parent
SUCCESS, SYSTEM_ERR, AUTH_ERR, UNAVAILABLE, USER_UNKNOWN, CONV_ERR = 0, 4, 7, 9, 10, 19
PERM_DENIED = 6
IGNORED = SUCCESS
"""The next module of the stack lets everybody in."""


def result(word: str, **more: str) -> bytes:
    return messages.encode("result", {"result": word, **more})


@dataclass
class Stack:
    """One PAM service with our module in it."""

    folder: Path
    module: Path
    client: Path
    environment: dict[str, str]
    arguments: str = ""
    watch: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "agent.sock"

    def run(self, *answers: str, user: str = "alice", phase: str = "auth", rounds: int = 1) -> tuple[int, str]:
        """Returns what libpam returned, and what the module showed."""
        line = f"[default=die success=done ignore=ignore] {self.module} socket={self.path} {self.arguments}"
        lines = [f"{kind} {each}" for kind in ("auth", "account") for each in (line, "required pam_permit.so")]
        (self.folder / "pam.d" / "sshd").write_text("\n".join(lines) + "\n")
        done = subprocess.run(
            [*self.watch, self.client, "sshd", user, phase, str(rounds), *answers],
            capture_output=True, text=True, timeout=120, env=self.environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found = re.search(r"^result: (\d+)", done.stdout, re.MULTILINE)
        assert found, done.stdout
        return int(found[1]), done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the module and its client."""
    if not Path("/usr/include/security/pam_modules.h").exists():
        pytest.skip("needs libpam0g-dev: ./dev setup test")
    folder = tmp_path_factory.mktemp("built")
    module = folder / "pam_sshaft.so"
    subprocess.run(["make", "-s", "-C", NATIVE, f"PAM_OUT={module}", module], check=True, timeout=120)
    client = ["cc", "-Wall", "-Wextra", "-Werror", "-o", folder / "pam_client", HERE / "pam_client.c", "-lpam"]
    subprocess.run(client, check=True, timeout=60)
    return folder


@pytest.fixture
def stack(built: Path) -> Iterator[Stack]:
    """Returns a service in a folder that root trusts."""
    wrapper = glob.glob("/usr/lib/*/libpam_wrapper.so")  # noqa: PTH207
    if not wrapper:
        pytest.skip("needs libpam-wrapper: ./dev setup test")
    folder = Path(tempfile.mkdtemp(prefix="sshaft-test-", dir="/var/lib" if os.geteuid() == 0 else None))
    (folder / "pam.d").mkdir()
    (folder / "pam.d" / "other").write_text("auth required pam_deny.so\n")
    environment = {
        "PATH": os.defpath, "LD_PRELOAD": wrapper[0], "PAM_WRAPPER": "1",
        "PAM_WRAPPER_SERVICE_DIR": str(folder / "pam.d"),
    }  # fmt: skip
    yield Stack(folder, built / "pam_sshaft.so", built / "pam_client", environment)
    shutil.rmtree(folder)


def saying(*parts: bytes) -> Callable[[socket.socket], None]:
    """Returns an agent that says the parts, and reads an answer after each prompt."""

    def speak(connection: socket.socket) -> None:
        read_question(connection)
        for part in parts:
            connection.sendall(part)
            if part.startswith(b"sshaft/1 prompt"):
                read_question(connection)

    return speak


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
    assert heard == [
        ("login", {"user": "alice", "service": "sshd", "rhost": "192.0.2.7", "tty": "ssh", "timeout": "30",
                   "ssh_auth_info": "publickey ssh-ed25519 AAAA", "config": "/etc/other.json"}),
        ("answer", {"text": "ab c%\x1b"}),
        ("answer", {"text": "x" * 5000}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "login", "account"),
    [
        ("success", SUCCESS, SUCCESS),
        ("denied", AUTH_ERR, PERM_DENIED),
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
    heard: list[Any] = []

    def agent(connection: socket.socket) -> None:
        read_question(connection)
        connection.sendall(messages.encode("prompt", {"text": "Code: ", "echo": "yes"}))
        heard.append(read_question(connection))
        connection.sendall(result("success"))

    with UnixServer(stack.path, agent):
        assert stack.run()[0] == CONV_ERR
        assert heard == [("failed", {"code": str(CONV_ERR)})]


def test_agent_that_hangs_ends_at_the_deadline(stack: Stack) -> None:
    def hang(connection: socket.socket) -> None:
        read_question(connection)
        while True:
            connection.sendall(messages.encode("wait", {}))  # it lives, and has no result
            time.sleep(0.2)

    stack.arguments = "timeout=1"
    with UnixServer(stack.path, hang):
        began = time.monotonic()
        assert stack.run()[0] == UNAVAILABLE
        assert time.monotonic() - began < 20


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


def test_three_thousand_rounds_in_one_process_keep_no_memory(stack: Stack) -> None:
    prompt = messages.encode("prompt", {"text": "Code: ", "echo": "yes"})
    with UnixServer(stack.path, saying(prompt, result("success"))):
        status, shown = stack.run("123456", rounds=3000)
    assert status == SUCCESS
    grown = re.search(r"grown: (-?\d+) kB", shown)
    assert grown
    assert int(grown[1]) < 500


def test_valgrind_finds_no_fault_in_the_module(stack: Stack) -> None:
    if not shutil.which("valgrind"):
        pytest.skip("needs valgrind: ./dev setup test")
    report = stack.folder / "valgrind"
    stack.watch = ["valgrind", "--leak-check=full", "--track-fds=yes", f"--log-file={report}"]
    prompt = messages.encode("prompt", {"text": "Code: ", "echo": "yes"})
    with UnixServer(stack.path, saying(messages.encode("info", {"text": "x"}), prompt, result("denied", reason="no"))):
        assert stack.run("123456")[0] == AUTH_ERR
    told = report.read_text()
    # libpam and its wrapper have faults of their own. None of them may go through the module.
    assert "pam_sshaft" not in told.replace(str(stack.folder), "").replace("pam_sshaft.so socket", ""), told


def test_module_needs_only_libc_and_libpam(built: Path) -> None:
    told = subprocess.run(
        ["readelf", "-dW", built / "pam_sshaft.so"], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert sorted(re.findall(r"\(NEEDED\).*\[(.*)\]", told)) == ["libc.so.6", "libpam.so.0"]
    assert "BIND_NOW" in told
