"""Tests what `sshaft host enable` makes of this machine's own stack: with a real sshd, on copies of its files."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.host_machine import PASSWORD, HostMachine

from sshaft_demo.host import CODE, DemoProvider, Terminal
from sshaft_demo.parts import Agent, connects, free_port, wait_for
from sshaft_demo.place import SSHD, Place

pytestmark = pytest.mark.root
RED_HAT = {
    "sshd": """\
#%PAM-1.0
auth       substack     password-auth
auth       include      postlogin
account    required     pam_nologin.so
account    include      password-auth
session    required     pam_loginuid.so
session    include      password-auth
""",
    "password-auth": """\
auth        required                                     pam_env.so
auth        required                                     pam_faildelay.so delay=2000000
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        [default=1 ignore=ignore success=ok]         pam_localuser.so
auth        sufficient                                   pam_unix.so nullok
auth        required                                     pam_deny.so
account     required                                     pam_unix.so
account     sufficient                                   pam_localuser.so
account     required                                     pam_permit.so
session     required                                     pam_unix.so
""",
    "postlogin": "session optional pam_umask.so silent\n",
}
"""The order of Red Hat's files, with the modules that Debian has."""


@dataclass
class Host:
    """A host that runs an sshd with the files of `machine`."""

    place: Place
    provider: DemoProvider
    agent: Agent
    machine: HostMachine
    port: int
    key: Path
    sshd: "subprocess.Popen[bytes]"

    def change(self, *words: str) -> str:
        """Runs `sshaft host WORDS` and makes sshd read its settings again. Returns what the command wrote."""
        status, said = self.machine.enable(*words[1:]) if words[0] == "enable" else self.machine.disable()
        assert status == 0, said
        started = self.place.log("sshd").count("Server listening")
        self.sshd.send_signal(signal.SIGHUP)
        wait_for(
            lambda: self.place.log("sshd").count("Server listening") > started,
            self.sshd, lambda: self.place.log("sshd"), "sshd",
        )  # fmt: skip
        return said

    def ssh(self, user: str, *words: str, key: bool = False) -> Terminal:
        methods = "publickey" if key else "keyboard-interactive,password"
        options = {"UserKnownHostsFile": self.place.known_hosts, "PreferredAuthentications": methods,
                   "IdentityFile": self.key, "IdentitiesOnly": "yes", "NumberOfPasswordPrompts": "1"}  # fmt: skip
        own = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return Terminal(["ssh", "-F", "none", "-p", str(self.port), *own, f"{user}@127.0.0.1", *words])

    def log_in(self, user: str) -> tuple[str, int]:
        """Logs in with an approval of alice."""
        terminal = self.ssh(user, "id -un")
        code = CODE.search(terminal.wait_for("Press Enter"))
        assert code
        self.provider.answer(code[0])
        terminal.type("\n")
        return terminal.end()

    def log_in_by_password(self, user: str) -> tuple[str, int]:
        terminal = self.ssh(user, "id -un")
        assert "assword: " in terminal.wait_for("assword: ")
        terminal.type(f"{PASSWORD}\n")
        return terminal.end()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "copies").mkdir()
    with Place() as place:
        provider = DemoProvider(place, free_port())
        agent = Agent(place, provider.write_config(pending_per_user=10, pending_per_source=10))
        machine = HostMachine(tmp_path / "copies", agent.runtime, agent.config)
        port, key = free_port(), place.generate_key("key-of-alice")
        authorized = place.directory / "authorized_keys"
        authorized.write_text(key.with_suffix(".pub").read_text())
        machine.add_to_sshd(f"AuthorizedKeysFile {authorized}", "PermitRootLogin no", "LogLevel VERBOSE")
        options = ("-p", str(port), "-h", place.directory / "ssh_host_ed25519_key", "-o", "PidFile=none")
        with place.log_path("sshd").open("wb") as log:
            process = subprocess.Popen(machine.command(SSHD, "-D", "-e", *options), stdout=log, stderr=log)
        try:
            wait_for(lambda: connects(port), process, lambda: place.log("sshd"), "sshd")
            yield Host(place, provider, agent, machine, port, key, process)
        finally:
            process.terminate()
            process.wait(10)


def test_enable_asks_everybody_but_the_emergency_account_until_disable(host: Host) -> None:
    assert host.log_in_by_password("admin") == ("\r\nadmin\r\n", 0)
    host.change("enable", "--break-glass", "ops")
    assert host.log_in("alice") == ("\r\nalice\r\n", 0)
    terminal = host.ssh("admin", "id -un")
    said = terminal.wait_for("Press Enter when")
    assert "This is a login to" in said
    assert "assword: " not in said
    terminal.type("\x03")
    assert terminal.end()[1] != 0
    host.place.stop(host.agent.process)
    assert host.log_in_by_password("ops") == ("\r\nops\r\n", 0)
    said, status = host.log_in_by_password("admin")  # sshd offers it, and the module refuses it
    assert (status, "admin\r\n" in said) == (255, False)
    assert host.ssh("alice", "id -un", key=True).end() == ("alice\r\n", 0)
    host.change("disable")
    assert host.log_in_by_password("admin") == ("\r\nadmin\r\n", 0)


def test_required_approval_closes_an_account_to_its_key_until_somebody_is_approved(host: Host) -> None:
    host.change("enable", "--require-approval", "--break-glass", "ops")
    assert host.ssh("alice", "id -un", key=True).end()[1] == 255
    assert host.ssh("ops", "id -un", key=True).end() == ("ops\r\n", 0)
    assert host.log_in("alice") == ("\r\nalice\r\n", 0)
    assert host.ssh("alice", "id -un", key=True).end() == ("alice\r\n", 0)
    host.place.stop(host.agent.process)
    assert host.ssh("alice", "id -un", key=True).end()[1] == 255
    assert host.ssh("ops", "id -un", key=True).end() == ("ops\r\n", 0)


def test_substack_of_red_hat_lets_nobody_in_after_a_refusal(host: Host) -> None:
    for name, text in RED_HAT.items():
        (host.machine.directory / "pam.d" / name).write_text(text)
    assert host.log_in_by_password("admin") == ("\r\nadmin\r\n", 0)
    host.change("enable", "--require-approval", "--break-glass", "ops")
    assert host.log_in("alice") == ("\r\nalice\r\n", 0)
    assert host.log_in_by_password("ops") == ("\r\nops\r\n", 0)
    assert host.ssh("admin", "id -un", key=True).end()[1] == 255
    host.place.stop(host.agent.process)
    assert host.log_in_by_password("admin")[1] == 255
    host.change("disable")
    assert host.machine.stack == RED_HAT["sshd"]
    assert host.log_in_by_password("admin") == ("\r\nadmin\r\n", 0)
