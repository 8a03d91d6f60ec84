"""Attacks host login with the real sshd, ssh, PAM module and agent: by names, codes, tokens, time, and other accounts.

The throwaway provider approves as whoever a test names, so each test can be the person, a stranger, or both.
"""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import asyncssh
import pytest
from e2e.hosts import Host, code_of, host_in
from fakes.openid_provider import CLIENT_ID, OpenIdProvider
from fakes.unix_server import UnixServer

from sshaft import agent_socket, messages
from sshaft_demo.host import CODE, HostSshd, Terminal
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import AGENT, Place

PRESS_ENTER = "Press Enter when"
END = "Press Enter to go on."
REFUSED = "This login was not accepted."
MANY = "MaxStartups 500\n"
ADDRESS = "a.smith@example.org"
"""The name of an account, as some organisations have it."""


@dataclass
class AttackedHost(Host):
    """A host, what a test asks its agent, and the terminals that a test has opened."""

    terminals: list[Terminal] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.agent.runtime / "host" / "agent.sock"

    def open(self, command: list[str]) -> Terminal:
        self.terminals.append(Terminal(command))
        return self.terminals[-1]

    def ssh(self, *words: str, user: str = "", key: Path | None = None) -> Terminal:
        return self.open(self.sshd.command(user or self.place.person, *words, key=key))

    def ssh_from(self, source: str, *words: str, user: str = "") -> Terminal:
        return self.ssh("-b", source, *words, user=user)

    def more_sshd(self, **options: Any) -> HostSshd:
        return HostSshd(self.place, self.socket, free_port(), **options)

    def ask(self, kind: str, **fields: str) -> Any:
        """Asks the agent as its operator does."""
        answer = agent_socket.ask_as_owner(str(self.agent.runtime / "status.sock"), kind, fields)
        return json.loads(answer[1]["json"])

    def waiting(self) -> int:
        return int(self.ask("status")["host_logins_waiting"])

    def accepted(self) -> int:
        return int(self.ask("status")["host_logins_accepted"])

    def owners(self) -> dict[str, str]:
        """Returns the subject that each account belongs to."""
        return {each["account"]: each["subject"] for each in self.ask("accounts") if each["subject"]}

    @contextmanager
    def changed(self, **changes: Any) -> Iterator[None]:
        """Changes members of `host_login` for a while."""
        before = self.agent.config.read_text()
        try:
            self._reload(json.dumps({"host_login": json.loads(before)["host_login"] | changes}))
            yield
        finally:
            self._reload(before)

    def _reload(self, config: str) -> None:
        done = self.place.log("agent").count("config.reloaded")
        self.agent.config.write_text(config)
        self.agent.process.send_signal(signal.SIGHUP)
        until(lambda: self.place.log("agent").count("config.reloaded") > done)


@pytest.fixture(scope="module")
def host() -> Iterator[AttackedHost]:
    with Place() as place:
        if place.accounts.separate:
            with (place.directory / "passwd").open("a") as passwd:
                passwd.write(f"bob:*:59902:59902::{place.empty_home}:/bin/sh\n")
                passwd.write(f"toor:*:0:0::{place.empty_home}:/bin/sh\n")
                passwd.write(f"{ADDRESS}:*:59903:59903::{place.empty_home}:/bin/sh\n")
        with host_in(place, MANY, pending_per_user=50, pending_per_source=50) as host:
            yield AttackedHost(host.place, host.provider, host.agent, host.sshd)


@pytest.fixture(autouse=True)
def _nothing_remains_of_a_test(host: AttackedHost) -> Iterator[None]:
    yield
    while host.terminals:
        host.terminals.pop().kill()
    for account in host.owners():
        host.ask("unbind", account=account)


class Module:
    """Speaks to the agent as pam_sshaft does."""

    def __init__(self, host: AttackedHost, user: str, source: str, timeout: int = 280) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(60)
        self._connection.connect(str(host.socket))
        self._received = b""
        fields = {"user": user, "service": "sshd", "rhost": source, "tty": "ssh", "timeout": str(timeout)}
        self.send(messages.encode("login", fields))

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def read(self) -> tuple[str, dict[str, str]]:
        """Returns the next message that is not `wait`; the kind is empty if the agent has ended the connection."""
        while True:
            head, end, rest = self._received.partition(messages.END)
            if end:
                self._received = rest
                kind, fields = messages.decode(head + end)
                if kind != "wait":
                    return kind, fields
            elif data := self._connection.recv(65536):
                self._received += data
            else:
                return "", {}

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until(is_true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.05)


def leave(terminal: Terminal) -> None:
    """Ends ssh by Ctrl-C. It takes effect at once, or with the next line if it comes just before ssh reads."""
    terminal.type("\x03\n")
    said, status = terminal.end()
    assert status != 0
    assert "in\r\n" not in said


# --- another person's approval


def transcript(terminal: Terminal, name: str) -> str:
    """Returns what a stranger reads: the refusal and what follows an Enter, without what differs in every login."""
    said = terminal.wait_for(END)
    terminal.type("\n")
    said += terminal.wait_for(PRESS_ENTER)
    leave(terminal)
    said = re.sub(r"[█▀▄ ]+\r\n|//127\.0\.0\.1:[0-9]+", "", said)  # a name of digits may be a part of the port
    return re.sub(r"[0-9a-f]{8}\r|[A-Z]{4}-?[A-Z]{4}", "#", said.replace(name, "NAME"))


def test_stranger_reads_the_same_of_every_name(host: AttackedHost) -> None:
    """The stranger can approve as a person of the provider, and learns nothing of this host's accounts."""
    names = [host.place.person, "daemon", "nobody", "sshaft", "nosuch", "mallory", "a@b", "x" * 64, "x" * 65]
    names += ["Daemon", "a b", "%s%n", "42"]
    said = {}
    for some in (names[:7], names[7:]):
        terminals = {name: host.ssh("echo in", user=name) for name in some}
        for terminal in terminals.values():
            host.provider.answer(code_of(terminal), user="mallory")
        for terminal in terminals.values():
            terminal.type("\n")
        said |= {name: transcript(terminal, name) for name, terminal in terminals.items()}
    assert said == dict.fromkeys(names, said["nosuch"])
    assert REFUSED in said["nosuch"]
    assert host.owners() == {}


def test_person_who_is_not_allowed_reads_what_a_stranger_reads(host: AttackedHost) -> None:
    said = []
    for user, approver in ((host.place.person, host.place.person), ("nosuch", "mallory")):
        with host.changed(allow={"users": ["somebody"]}):
            terminal = host.ssh("echo in", user=user)
            host.provider.answer(code_of(terminal), user=approver)
        terminal.type("\n")
        said.append(transcript(terminal, user))
    assert said[0] == said[1]
    assert REFUSED in said[0]
    assert host.owners() == {}


@pytest.mark.root
def test_account_of_root_or_of_the_system_opens_for_nobody(host: AttackedHost) -> None:
    """The provider has a person of each name, who approves. toor is a second name of root."""
    terminals = {name: host.ssh("echo in", user=name) for name in ("toor", "daemon", "nobody", "sshaft")}
    for name, terminal in terminals.items():
        host.provider.answer(code_of(terminal), user=name)
    for terminal in terminals.values():
        terminal.type("\n")
        assert REFUSED in terminal.wait_for(END)
        leave(terminal)
    root = host.ssh("echo in", user="root")
    assert CODE.search(root.wait_for("Permission denied")) is None
    leave(root)
    assert host.owners() == {}


@pytest.mark.root
def test_swapped_codes_open_neither_account(host: AttackedHost) -> None:
    """Each of two people approves the code that the other one's ssh shows."""
    terminals = {name: host.ssh("echo in", user=name) for name in ("alice", "bob")}
    codes = {name: code_of(terminal) for name, terminal in terminals.items()}
    host.provider.answer(codes["alice"], user="bob")
    host.provider.answer(codes["bob"], user="alice")
    for terminal in terminals.values():
        terminal.type("\n")
        assert REFUSED in terminal.wait_for(END)
        leave(terminal)
    assert host.owners() == {}


def test_name_that_was_given_to_another_person_opens_nothing_and_is_reported(host: AttackedHost) -> None:
    host.ask("bind", account=host.place.person, issuer=host.provider.issuer, subject="the-first-person")
    terminal = host.ssh("echo in")
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    said = terminal.wait_for(END)
    leave(terminal)
    reference = re.search(r"Reference: (\w+)", said)
    assert reference, said
    (line,) = [
        each for each in host.place.log("agent").splitlines() if f'"{reference[1]}"' in each and "refused" in each
    ]
    event = json.loads(line)
    assert event["level"] == "warning"
    assert event["reason"] == "the account belongs to another identity"
    assert event["subject"] == f"id-of-{host.place.person}"
    assert host.owners() == {host.place.person: "the-first-person"}


def test_code_that_is_approved_twice_opens_one_login(host: AttackedHost) -> None:
    first, second = host.ssh("echo in"), host.ssh("echo in")
    code, _ = code_of(first), code_of(second)
    host.provider.answer(code)
    first.type("\n")
    assert first.end() == ("\r\nin\r\n", 0)
    host.provider.answer(code)
    second.type("\n")
    assert "not approved yet" in second.wait_for(PRESS_ENTER)
    leave(second)


# --- names


class _Prompts(asyncssh.SSHClient):
    """Collects what the server asks, and ends the login."""

    def __init__(self, user: str) -> None:
        self._user = user
        self.asked: list[str] = []

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        conn._username = self._user  # noqa: SLF001 - asyncssh refuses names that a stranger's program sends

    def kbdint_auth_requested(self) -> str:
        return ""

    def kbdint_challenge_received(self, _name: str, _instructions: str, _lang: str, prompts: Any) -> None:
        self.asked += [prompt for prompt, _ in prompts]


async def _prompts(port: int, user: str) -> list[str]:
    """Returns the prompts that sshd shows to a client that leaves after the first one."""
    client = _Prompts(user)
    with pytest.raises((asyncssh.Error, OSError)):
        await asyncssh.connect(
            "127.0.0.1", port, username="x", client_factory=lambda: client, preferred_auth="keyboard-interactive",
            connect_timeout=30, known_hosts=None, client_keys=None, agent_path=None, config=None,
        )  # fmt: skip
    return client.asked


@pytest.mark.parametrize(
    "user",
    ["\x1b[2J\x1b]0;x\x07eve", "a\nalice\r", "-oProxyCommand=x", "\u202eecila", "alice\u200b", "'; $(id)",
     "x" * 30_000],
    ids=["escapes", "line ends", "option", "reordered", "invisible", "shell", "long"],
)  # fmt: skip
def test_hostile_name_reaches_terminal_and_logs_escaped(host: AttackedHost, user: str) -> None:
    """ssh refuses many such names before it sends them. A program of a stranger sends them."""
    asked = asyncio.run(_prompts(host.sshd.port, user))
    (text,) = asked
    assert all(line.isprintable() for line in text.split("\n"))
    assert not {"\u200b", "\u202e"} & set(text)
    assert len(text) < 3000
    for line in host.place.log("agent").splitlines():
        assert line.isprintable()
        assert isinstance(json.loads(line), dict)
    assert "agent.fault" not in host.place.log("agent")


@pytest.mark.root
def test_name_of_an_account_may_have_the_form_of_an_address(host: AttackedHost) -> None:
    terminal = host.ssh("id -u", user=ADDRESS)
    host.provider.answer(code_of(terminal), user=ADDRESS)
    terminal.type("\n")
    assert terminal.end() == ("\r\n59903\r\n", 0)
    assert host.owners() == {ADDRESS: f"id-of-{ADDRESS}"}


def test_name_that_fits_in_no_message_ends_at_once(host: AttackedHost) -> None:
    assert asyncio.run(_prompts(host.sshd.port, "\u00fc" * 20_000)) == []
    assert host.waiting() == 0


# --- what is typed


@pytest.mark.parametrize("text", [b"%FF", b"%C3%28", b"x" * 70_000], ids=["no text", "half a character", "too much"])
def test_odd_answer_ends_one_login_and_is_no_fault_of_the_agent(host: AttackedHost, text: bytes) -> None:
    with Module(host, "alice", "192.0.2.1") as module:
        assert module.read()[0] == "prompt"
        module.send(b"sshaft/1 answer\ntext " + text + b"\n\n")
        assert module.read() == ("", {})
    until(lambda: host.waiting() == 0)
    assert "agent.fault" not in host.place.log("agent")


def test_no_log_has_what_was_typed_or_shown(host: AttackedHost) -> None:
    sshd = host.more_sshd(settings="LogLevel DEBUG3\n", arguments="debug")
    terminal = host.open(sshd.command(host.place.person, "true"))
    code = code_of(terminal)
    host.provider.answer(code)
    terminal.type("my password by mistake\n")
    assert terminal.end()[1] == 0
    log = host.place.log("sshd") + host.place.log("agent")
    assert "debug3:" in log
    for text in ("by mistake", code, code.replace("-", ""), "access_token", "device_code"):
        assert text not in log
    host.place.stop(sshd.process)


# --- time and processes


@pytest.mark.parametrize("is_polling", [False, True], ids=["at the prompt", "after Enter"])
def test_approval_after_ssh_was_killed_opens_nothing(host: AttackedHost, *, is_polling: bool) -> None:
    """sshd 9.2 notices only at the next prompt that ssh has gone. So Enter must not wait for long."""
    accepted = host.accepted()
    terminal = host.ssh("echo in")
    code = code_of(terminal)
    if is_polling:
        terminal.type("\n")
    terminal.kill()
    until(lambda: host.waiting() == 0)
    host.provider.answer(code)
    assert host.accepted() == accepted
    assert host.owners() == {}


def test_ssh_without_a_terminal_does_not_hold_the_place_of_its_person(host: AttackedHost) -> None:
    """It answers every prompt at once. A job that runs ssh must not keep its owner out for minutes."""
    command = host.sshd.command(host.place.person, "-o", "NumberOfPasswordPrompts=1", "echo in")
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=100, start_new_session=True, check=False
    )
    assert (done.returncode, done.stdout) == (255, b"")
    assert host.place.log("agent").count("nobody reads the prompts") == 1
    assert host.waiting() == 0


def pam_processes(sshd: HostSshd) -> list[int]:
    """Returns the processes below this sshd in which our module waits."""
    parents, found = {}, []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            if b"[pam]" in (each / "cmdline").read_bytes():
                found.append(int(each.name))
        except OSError:
            continue

    def is_below(pid: int) -> bool:
        return pid == sshd.process.pid or (pid in parents and is_below(parents[pid]))

    return [pid for pid in found if is_below(pid)]


@pytest.mark.parametrize("is_polling", [False, True], ids=["at the prompt", "after Enter"])
def test_agent_forgets_a_login_whose_sshd_process_was_killed(host: AttackedHost, *, is_polling: bool) -> None:
    terminal = host.ssh("echo in")
    code = code_of(terminal)
    if is_polling:
        terminal.type("\n")
    (pid,) = pam_processes(host.sshd)
    os.kill(pid, signal.SIGKILL)
    until(lambda: host.waiting() == 0)
    host.provider.answer(code)
    leave(terminal)
    assert host.owners() == {}


@pytest.mark.parametrize("is_polling", [False, True], ids=["at the prompt", "after Enter"])
def test_agent_forgets_a_login_that_sshd_ends_in_time(host: AttackedHost, *, is_polling: bool) -> None:
    sshd = host.more_sshd(settings="LoginGraceTime 4\n")
    terminal = host.open(sshd.command(host.place.person, "echo in"))
    code = code_of(terminal)
    if is_polling:
        terminal.type("\n")
    until(lambda: host.waiting() == 0)
    host.provider.answer(code)
    leave(terminal)
    host.place.stop(sshd.process)
    assert host.owners() == {}


def test_agent_forgets_a_login_after_the_timeout_of_the_module(host: AttackedHost) -> None:
    """sshd without LoginGraceTime waits for ever for an answer. A place of the address must not be taken for ever."""
    with Module(host, "alice", "192.0.2.1", timeout=1) as module:
        assert module.read()[0] == "prompt"
        assert module.read() == ("", {})
    assert host.waiting() == 0


def test_restart_of_the_agent_does_not_wait_for_people(host: AttackedHost) -> None:
    """Nobody can log in between stop and start. A stranger with an open prompt must not make that time longer."""
    terminal = host.ssh("echo in")
    code = code_of(terminal)
    host.provider.answer(code)
    host.place.stop(host.agent.process, 30)
    assert host.place.log("agent").count('"host_login.ended"') == 1
    host.agent.process = host.agent.start()
    terminal.type("\n")
    assert code_of(terminal) != code  # the approval of the old code is lost; the person gets a new one
    leave(terminal)


def test_agent_that_lies_opens_no_account_that_is_not_there(host: AttackedHost) -> None:
    folder = host.place.directory / "liar"
    folder.mkdir(mode=0o755)
    with UnixServer(folder / "agent.sock", messages.encode("result", {"result": "success"})) as liar:
        sshd = HostSshd(host.place, folder / "agent.sock", free_port())
        for user in ("nosuch", "root"):
            done = subprocess.run(
                sshd.command(user, "echo in"), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
            )
            assert (done.returncode, done.stdout) == (255, b"")
        assert {fields["user"] for _, fields in liar.asked} == {"nosuch"}  # never root
        host.place.stop(sshd.process)


@pytest.mark.root
def test_emergency_account_logs_in_while_the_agent_is_frozen(host: AttackedHost) -> None:
    sshd = host.more_sshd(arguments="break_glass=bob", others="pam_permit.so")
    os.killpg(host.agent.process.pid, signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            for _ in range(20):
                connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                connection.connect(str(host.socket))
            done = subprocess.run(
                sshd.command("bob", "id -u"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                check=False,
            )  # fmt: skip
    finally:
        os.killpg(host.agent.process.pid, signal.SIGCONT)
        host.place.stop(sshd.process)
    assert (done.returncode, done.stdout) == (0, "59902\n")


# --- other accounts of this host

KNOCK = """
import socket, sys
opened = 0
for path in sys.argv[1:]:
    for _ in range(1000):
        try:
            socket.socket(socket.AF_UNIX).connect(path)
            opened += 1
        except PermissionError:
            pass
print(opened)
"""


@pytest.mark.root
def test_local_user_reaches_no_socket_of_the_agent(host: AttackedHost) -> None:
    paths = [host.socket, host.socket.with_name("names.sock"), host.agent.runtime / "status.sock"]
    assert all(path.is_socket() for path in paths)
    command = ["setpriv", "--reuid=64803", "--regid=64803", "--clear-groups", *host.place.python(), "-c", KNOCK, *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0\n"
    terminal = host.ssh("echo in")
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    assert terminal.end() == ("\r\nin\r\n", 0)


BIND = """
import sys
from sshaft import agent_socket
fields = {"account": "alice", "issuer": "x", "subject": "y"}
for kind in ("accounts", "bind", "unbind", "suspend", "remove", "approve", "deny"):
    kind, answer = agent_socket.ask_as_owner(sys.argv[1], kind, fields)
    print(kind, answer.get("reason"))
"""


@pytest.mark.root
def test_account_that_may_ask_for_the_status_cannot_give_accounts_away(host: AttackedHost) -> None:
    """A program that watches the agent is in the agent's group."""
    group = str(host.place.accounts.uids[AGENT])
    ids = ["setpriv", "--reuid=64803", f"--regid={group}", "--clear-groups"]
    command = [*ids, *host.place.python(), "-c", BIND, host.agent.runtime / "status.sock"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "answer None\n" + "error only root may do this\n" * 6
    assert host.owners() == {}


# --- many


def test_two_hundred_waiting_logins_do_not_stop_a_person(host: AttackedHost) -> None:
    with ExitStack() as stack:
        modules = [stack.enter_context(Module(host, f"user{i}", f"10.0.{i // 100}.{i % 100}")) for i in range(200)]
        assert {module.read()[0] for module in modules} == {"prompt"}
        assert host.waiting() == 200
        terminal = host.ssh("echo in")
        host.provider.answer(code_of(terminal))
        terminal.type("\n")
        assert terminal.end(60) == ("\r\nin\r\n", 0)
        assert host.waiting() == 200
    until(lambda: host.waiting() == 0)


def test_scanners_that_never_answer_do_not_stop_a_person(host: AttackedHost) -> None:
    """Some say nothing to sshd, and some get a code from addresses of their own and leave it there.

    pam_wrapper has 62 places for all processes of a machine, so there are not more of them.
    """
    with ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(socket.create_connection(("127.0.0.1", host.sshd.port), 10))
        scanners = [host.ssh_from(f"127.0.1.{1 + i // 2}", "echo in") for i in range(15)]
        for scanner in scanners:
            code_of(scanner)
        terminal = host.ssh("echo in")
        host.provider.answer(code_of(terminal))
        terminal.type("\n")
        assert terminal.end() == ("\r\nin\r\n", 0)
        for scanner in scanners:
            leave(scanner)
    until(lambda: host.waiting() == 0)


def test_three_strangers_at_one_address_delay_people_of_that_address_only(host: AttackedHost) -> None:
    """SECURITY.md says what this means behind a NAT."""
    with host.changed(pending_per_user=1, pending_per_source=3):
        strangers = [host.ssh_from("127.0.0.9", "echo in", user=f"nosuch{i}") for i in range(3)]
        for stranger in strangers:
            code_of(stranger)
        neighbour = host.ssh_from("127.0.0.9", "echo in")
        assert "Logins wait already from your address." in neighbour.wait_for(END)
        leave(neighbour)
        elsewhere = host.ssh("echo in")
        host.provider.answer(code_of(elsewhere))
        elsewhere.type("\n")
        assert elsewhere.end() == ("\r\nin\r\n", 0)
        leave(strangers.pop())
        until(lambda: host.waiting() == 2)
        neighbour = host.ssh_from("127.0.0.9", "echo in")
        code_of(neighbour)
        for each in (neighbour, *strangers):
            leave(each)


# --- what the provider answers


@dataclass
class FakeProviderHost:
    """A host with host login at a provider whose tokens a test bends."""

    host: AttackedHost
    provider: OpenIdProvider
    sshd: HostSshd

    def log_in(self) -> tuple[str, int]:
        """Returns what ssh shows after the approval and Enter, and its exit status."""
        terminal = self.host.open(self.sshd.command(self.host.place.person, "echo in"))
        terminal.wait_for(PRESS_ENTER)
        terminal.type("\n")
        if not self.provider.bend_claims:
            return terminal.end()
        terminal.wait_for(END)
        terminal.type("\x03\n")
        return terminal.end()


@pytest.fixture(scope="module")
def bent(host: AttackedHost) -> Iterator[FakeProviderHost]:
    user = {"sub": "subject-1", "preferred_username": host.place.person}
    with OpenIdProvider(lambda: datetime.now(UTC), "", user) as provider:
        provider.public = provider.is_approved = True
        state = str(host.place.folder("state-bent", AGENT, 0o700))
        host_login = {"issuer": provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True}}
        config = host.place.directory / "bent.json"
        config.write_text(json.dumps({"host_login": host_login | {"state_directory": state}}))
        agent = Agent(host.place, config, "agent-bent")
        yield FakeProviderHost(host, provider, HostSshd(host.place, agent.runtime / "host" / "agent.sock", free_port()))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-client"},
        {"aud": [CLIENT_ID, "another-client"]},
        {"iss": "https://login.example.com"},
        {"exp": 1_700_000_000},
        {"iat": 4_000_000_000},
        {"nonce": "of a browser"},
        {"sub": ""},
        {"preferred_username": ["alice", "bob"]},
    ],
    ids=lambda claims: next(iter(claims)),
)
def test_token_that_is_not_for_this_login_opens_nothing(bent: FakeProviderHost, claims: dict[str, Any]) -> None:
    bent.provider.bend_claims = claims
    said, status = bent.log_in()
    assert status != 0
    assert "\r\nin\r\n" not in said
    bent.provider.bend_claims = {}
    assert bent.log_in() == ("\r\nin\r\n", 0)
