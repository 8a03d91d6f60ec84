"""Tests that sshaft-accounts ends single sessions of a real sshd, and nothing else, in a machine of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from process.test_accounts import TOP, UID, USER, WAITS, Machine, create, is_alive

pytestmark = pytest.mark.root
WHOLE = ("done", {"uid": str(UID), "home": "", "shell": ""})
EVE, EVES = "eve", UID + 1
DAEMON = "setsid sh -c 'setsid sleep 1000 & sleep 1000' >/dev/null 2>&1 </dev/null & "
STUBBORN = "trap '' HUP TERM; "


class Hosts:
    """An sshd in the machine, and ssh clients outside of it."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder
        self._clients: list[subprocess.Popen[str]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        machine.run("mkdir", "-p", "/run/sshd")
        machine.run("mount", "-t", "devpts", "devpts", "/dev/pts", "-o", "newinstance,ptmxmode=0666,mode=620,gid=5")
        machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/run/host_key")
        lines = ("Port", str(self.port)), ("ListenAddress", "127.0.0.1"), ("HostKey", "/run/host_key")
        options = [word for name, value in (*lines, ("UsePAM", "no")) for word in ("-o", f"{name}={value}")]
        self.sshd = subprocess.Popen([*machine._enter, "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", *options])  # noqa: SLF001

    def account(self, user: str, uid: int) -> None:
        create(self.machine, user, uid)
        folder = self.machine.root / "home" / user / ".ssh"
        folder.mkdir(mode=0o700)
        shutil.copy(self.folder / "key.pub", folder / "authorized_keys")
        for each in (folder, folder / "authorized_keys"):
            os.chown(each, uid, uid)

    def log_in(self, user: str, command: str = "", *, terminal: bool = False) -> tuple[str, subprocess.Popen[str]]:
        """Opens a session that waits. Returns its leader, as the agent names it, and the client."""
        before = set(self.leaders())
        options = {
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "IdentityFile": self.folder / "key",
            "LogLevel": "ERROR", "BatchMode": "yes", "ConnectionAttempts": "20",
        }  # fmt: skip
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        words += ["-tt"] if terminal else []
        command += "echo ready; while :; do sleep 1; done"
        client = subprocess.Popen(
            ["ssh", "-F", "none", "-p", str(self.port), *words, f"{user}@127.0.0.1", command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._clients.append(client)
        assert client.stdout
        assert client.stdout.readline().strip() == "ready"
        (leader,) = set(self.leaders()) - before
        return leader, client

    def leaders(self) -> list[str]:
        """Returns the processes of sshd that serve connections, each with its start."""
        code = (
            "import glob\n"
            "for path in glob.glob('/proc/[0-9]*/stat'):\n"
            "  try: name, _, rest = open(path).read().rpartition(')')\n"
            "  except OSError: continue\n"
            "  pid, fields = name.split()[0], rest.split()\n"
            "  status = open(f'/proc/{pid}/status').read()\n"
            "  if 'sshd' in name and fields[3] == pid and '\\nUid:\\t0' in status and fields[1] != '0':\n"
            "    print(f'{pid}:{int(fields[19]) * 10}')\n"
        )
        found = self.machine.run("python3", "-c", code).split()
        return [each for each in found if each.partition(":")[0] != self._listener()]

    def _listener(self) -> str:
        return self.machine.run("pgrep", "-o", "-x", "sshd")

    def end(self, leaders: str, user: str = USER) -> tuple[str, dict[str, str]]:
        return self.machine.ask("end_sessions", user=user, sessions=leaders)

    def close(self) -> None:
        for each in (*self._clients, self.sshd):
            each.kill()
            each.communicate()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    machine = Machine(tmp_path)
    machine.start()
    made = Hosts(machine, tmp_path)
    with contextlib.ExitStack() as stack:
        stack.callback(machine.end)
        stack.callback(made.close)
        made.account(USER, UID)
        made.account(EVE, EVES)
        yield made


def ends(client: subprocess.Popen[str]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        client.wait(20)
        return True
    return False


def left(hosts: Hosts, uid: int = UID) -> list[str]:
    return [each for each in hosts.machine.processes(uid) if "Z" not in each]


@pytest.mark.parametrize("terminal", [False, True], ids=["command", "terminal"])
@pytest.mark.parametrize("before", ["", DAEMON, STUBBORN], ids=["plain", "daemons", "ignores signals"])
def test_one_session_ends_with_all_its_processes_and_no_other(hosts: Hosts, before: str, terminal: bool) -> None:
    leader, client = hosts.log_in(USER, before, terminal=terminal)
    _, second = hosts.log_in(USER)
    _, eves = hosts.log_in(EVE)
    cron = hosts.machine.process(WAITS, UID)
    began = len(left(hosts, EVES))
    assert hosts.end(leader) == WHOLE
    assert ends(client)
    assert second.poll() is None
    assert eves.poll() is None
    assert is_alive(cron)
    assert len(left(hosts, EVES)) == began
    second.kill()
    time.sleep(0.5)
    assert hosts.log_in(USER)[1].poll() is None  # the account is not locked


def test_session_of_another_account_never_ends(hosts: Hosts) -> None:
    leader, client = hosts.log_in(EVE)
    assert hosts.end(leader) == WHOLE
    pid, began = leader.split(":")
    assert hosts.end(f"{pid}:{int(began) + 10}", EVE)[0] == "done"  # a number that was given anew
    own = hosts.machine.process(WAITS, UID)
    for wrong in (own, 1):
        assert hosts.end(f"{wrong}:0") == WHOLE
    time.sleep(0.3)
    assert client.poll() is None
    assert is_alive(own)


@pytest.mark.parametrize("user", ["root", "sshaft", "daemon", "nobody", "unknown", "-x"])
def test_accounts_of_the_system_have_no_sessions_to_end(hosts: Hosts, user: str) -> None:
    assert hosts.end("1:0", user) == ("refused", {"reason": "user: not the account of a person"})


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "0:1", "1:-1", "1:1,", "1:1;2:2", ",".join(["1:1"] * 101)])
def test_what_is_no_list_of_sessions_is_refused(hosts: Hosts, text: str) -> None:
    assert hosts.end(text)[0] == "refused"


def test_capabilities_of_the_unit_suffice(hosts: Hosts) -> None:
    hosts.machine.stop()
    unit = (TOP / "systemd" / "sshaft-accounts.service").read_text()
    words = next(line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet=")).partition("=")[2]
    kept = ",".join(word.lower().replace("cap_", "+") for word in words.split())
    hosts.machine.start("setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all", "--no-new-privs")
    leader, client = hosts.log_in(USER, STUBBORN)
    assert hosts.end(leader) == WHOLE
    assert ends(client)
