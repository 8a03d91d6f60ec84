"""Tests a first login on a host that `sshaft host enable` has prepared, and what `sshaft host disable` leaves."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.first_login_machine import FirstLoginMachine

from sshaft_demo.host import CODE, DemoProvider, Terminal
from sshaft_demo.parts import connects, free_port, wait_for
from sshaft_demo.place import SSHD, Place
from sshaft_demo.provider import CLIENT_ID

pytestmark = pytest.mark.root
LIMITS = {"pending_per_user": 10, "pending_per_source": 10, "enter": "always"}


@dataclass
class Host:
    """A host that runs an sshd with the files of `machine`. One key is that of every account."""

    place: Place
    provider: DemoProvider
    machine: FirstLoginMachine
    port: int
    key: Path
    sshd: "subprocess.Popen[bytes]"

    def change(self, *words: str) -> str:
        """Runs `sshaft host WORDS` and makes sshd read its settings again. Returns what the command wrote."""
        status, said = self.machine.run("host", *words)
        assert status == 0, said
        self.restart_sshd()
        return said

    def restart_sshd(self) -> None:
        started = self.place.log("sshd").count("Server listening")
        self.sshd.send_signal(signal.SIGHUP)
        wait_for(
            lambda: self.place.log("sshd").count("Server listening") > started,
            self.sshd, lambda: self.place.log("sshd"), "sshd",
        )  # fmt: skip

    def ssh(self, user: str, *, key: bool = False) -> Terminal:
        methods = "publickey" if key else "keyboard-interactive"
        options = {"UserKnownHostsFile": self.place.known_hosts, "PreferredAuthentications": methods,
                   "IdentityFile": self.key, "IdentitiesOnly": "yes"}  # fmt: skip
        own = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return Terminal(["ssh", "-F", "none", "-p", str(self.port), *own, f"{user}@127.0.0.1", "id -u; pwd"])

    def code_at(self, terminal: Terminal) -> str:
        """Returns the code that is shown before the login waits for Enter."""
        code = CODE.search(terminal.wait_for("Press Enter"))
        assert code, self.place.log("sshd") + self.machine.agent.output
        return code[0]

    def approve(self, terminal: Terminal, user: str, code: str = "") -> tuple[str, int]:
        self.provider.answer(code or self.code_at(terminal), user=user)
        terminal.type("\n")
        return terminal.end()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Place() as place:
        provider = DemoProvider(place, free_port())
        with FirstLoginMachine(tmp_path, issuer=provider.issuer, client_id=CLIENT_ID, **LIMITS) as machine:
            port, key = free_port(), place.generate_key("key")
            authorized = place.directory / "authorized_keys"
            authorized.write_text(key.with_suffix(".pub").read_text())
            machine.add_to_sshd(f"AuthorizedKeysFile {authorized}", "PermitRootLogin no", "LogLevel VERBOSE")
            options = ("-p", str(port), "-h", place.directory / "ssh_host_ed25519_key", "-o", "PidFile=none")
            with place.log_path("sshd").open("wb") as log:
                process = subprocess.Popen(machine.command(SSHD, "-D", "-e", *options), stdout=log, stderr=log)
            try:
                wait_for(lambda: connects(port), process, lambda: place.log("sshd"), "sshd")
                yield Host(place, provider, machine, port, key, process)
            finally:
                process.terminate()
                process.wait(10)


def test_account_of_a_first_login_works_after_disable(host: Host) -> None:
    before = host.machine.files()
    assert host.ssh("newbie", key=True).end()[1] == 255
    host.change("enable", "--require-approval", "--break-glass", "ops")
    assert host.ssh("newbie", key=True).end()[1] == 255
    said, status = host.approve(host.ssh("newbie"), "newbie")
    assert (said.split(), status) == (["70000", "/home/newbie"], 0)
    waiting = host.ssh("second")
    code = host.code_at(waiting)
    said = host.change("disable")
    assert "which gave none of them a password: newbie.\n" in said
    assert host.machine.files() == before
    said, status = host.approve(waiting, "second", code)
    assert (said.split(), status) == (["70001", "/home/second"], 0)
    host.machine.agent.stop()
    host.machine.stop_helper()
    for name, uid in (("newbie", "70000"), ("second", "70001")):
        assert host.ssh(name, key=True).end() == (f"{uid}\r\n/home/{name}\r\n", 0)
    assert host.ssh("third", key=True).end()[1] == 255


def test_check_makes_the_account_of_a_new_name(host: Host) -> None:
    host.change("enable", "--require-approval", "--break-glass", "ops")
    terminal = Terminal(host.machine.command(*host.place.sshaft("host", "check", "newbie")))
    shown = terminal.wait_for("\n")
    assert "this host has no such account; an approval makes it: 70000 /home/newbie /bin/bash" in shown
    said, status = host.approve(terminal, "newbie")
    assert (status, "newbie gets in." in said) == (0, True), said
    assert host.ssh("newbie", key=True).end() == ("70000\r\n/home/newbie\r\n", 0)


def test_rule_about_groups_refuses_every_first_login(host: Host) -> None:
    """The doctor says so: sshd applies both rules before the account is made, to a name without a group."""
    host.change("enable", "--require-approval", "--break-glass", "ops")
    for name, line in (("one", "AllowGroups *"), ("two", "DenyGroups nobody-has-it")):
        host.machine.add_to_sshd(line, "PermitRootLogin no")
        host.restart_sshd()
        assert host.approve(host.ssh(name), name)[1] == 255
        assert f"User {name} from 127.0.0.1 not allowed because not in any group" in host.place.log("sshd")
