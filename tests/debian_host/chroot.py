"""Runs the sshd and the PAM of another Debian in a chroot, with the module and the agent of this machine.

The chroot sees the agent's socket of this machine, and nothing else of it.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from image.containers import SUITE
from image.debian import UnavailableError, base_tar, need_root, skipping

from sshaft_demo.host import CODE, MODULE, DemoProvider, Terminal
from sshaft_demo.parts import Agent, connects, free_port, wait_for
from sshaft_demo.place import Place

SUITES = [os.environ["SUITE"]] if "SUITE" in os.environ else [SUITE, "bookworm"]
"""The versions of Debian. The tests that have none of their own use the first one."""
PACKAGES = ("python3", "sudo")
"""What a chroot has that needs nothing else: Debian is put together once for each list of packages, for a minute."""
ENTER = "Press Enter"
LIMITS = {"pending_per_user": 10, "pending_per_source": 10}
PAM_LINES = {
    "auth": "auth [success=done ignore=ignore default=die] pam_sshaft.so timeout=280 {arguments}",
    "account": "account [success=ok ignore=ignore default=bad] pam_sshaft.so {arguments}",
}
SSHD_LINES = """\
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/ssh/host_key
UsePAM yes
KbdInteractiveAuthentication yes
LoginGraceTime 300
PerSourceMaxStartups none
"""
START = """set -e
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount -t devpts devpts "$1/dev/pts" -o newinstance,ptmxmode=0666,mode=620,gid=5
mount -t tmpfs tmpfs "$1/run" -o mode=755
mkdir -p "$1/run/sshd" "$1/run/sshaft/host"
mount --bind "$2" "$1/run/sshaft/host"
{before}
exec chroot "$1" /usr/sbin/sshd -D -e
"""


@dataclass
class Debian:
    """A chroot whose sshd runs, with the module in its own PAM stack and the agent of this machine.

    `arguments` are those of the module. `before` is what the shell does before it starts sshd; `$1` is the chroot.
    """

    place: Place
    agent: Agent
    provider: DemoProvider
    root: Path
    arguments: str = ""
    before: str = ""
    start: ClassVar[str] = START
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        security = next(self.root.glob("usr/lib/*/security"))
        shutil.copy(MODULE, security)
        stack = self.root / "etc" / "pam.d" / "sshd"
        text = stack.read_text()
        for phase, line in PAM_LINES.items():
            text = re.sub(
                rf"(?m)^(?=@include common-{phase}\b)", line.format(arguments=self.arguments) + "\n", text, count=1
            )
        stack.write_text(text)
        shutil.copy(self.place.directory / "ssh_host_ed25519_key", self.root / "etc" / "ssh" / "host_key")
        shutil.copy(self.place.known_hosts, self.root / "etc" / "ssh" / "known_hosts")
        lines = self.root / "etc" / "ssh" / "sshd_config.d" / "30-sshaft.conf"
        more = "PerSourcePenalties no\n" if self.openssh_version >= (9, 8) else ""
        lines.write_text(SSHD_LINES.format(port=self.port) + more)
        add = ["useradd", "--uid=59901", "--create-home", "--shell=/bin/sh", self.place.person]
        subprocess.run(["chroot", self.root, *add], check=True, timeout=60)
        command = ["env", "-i", f"PATH={os.defpath}:/usr/sbin:/sbin", *self.unshare()]
        script = ["sh", "-c", self.start.format(before=self.before), "sh", self.root, self.agent.runtime / "host"]
        self.process = self.place.start("sshd", [*command, *script])
        wait_for(lambda: connects(self.port), self.process, lambda: self.place.log("sshd"), "sshd")

    def unshare(self) -> list[str | Path]:
        """Returns the command that starts a program in namespaces of its own."""
        return ["unshare", "-m", "-p", "-f", "--kill-child"]

    @property
    def sshd_pid(self) -> int:
        """Returns the first process of the namespaces, which is the only child of unshare."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def stop(self) -> None:
        """Ends sshd and all else in its namespace of processes. unshare does not pass SIGTERM on."""
        with suppress(OSError, ValueError):
            os.kill(self.sshd_pid, signal.SIGKILL)

    @cached_property
    def openssh_version(self) -> tuple[int, ...]:
        """Returns (10, 0) for the package 1:10.0p1-7."""
        query = ["dpkg-query", f"--admindir={self.root}/var/lib/dpkg", "-W", "-f", "${Version}", "openssh-server"]
        said = subprocess.run(query, check=True, capture_output=True, text=True, timeout=60).stdout
        found = re.search(r"(\d+)\.(\d+)p", said)
        assert found
        return tuple(int(number) for number in found.groups())

    def ssh(
        self, *words: str, options: tuple[str, ...] = ("-o", "PubkeyAuthentication=no"), own: bool = False,
        user: str | None = None,
    ) -> Terminal:  # fmt: skip
        """Runs the ssh of this machine, or the chroot's own one."""
        known = "/etc/ssh/known_hosts" if own else self.place.known_hosts
        inside = ["nsenter", f"--target={self.sshd_pid}", "--mount", "--root", "--wd"] if own else []
        options = ("-F", "none", "-p", str(self.port), "-o", f"UserKnownHostsFile={known}", *options)
        return Terminal([*inside, "ssh", *options, f"{user or self.place.person}@127.0.0.1", *words])

    def copy(self, program: str, *words: str) -> Terminal:
        """Runs scp or sftp of this machine."""
        known = f"UserKnownHostsFile={self.place.known_hosts}"
        options = ("-F", "none", "-P", str(self.port), "-o", known, "-o", "PubkeyAuthentication=no")
        return Terminal([program, *options, *words])

    def code_at(self, terminal: Terminal) -> str:
        """Returns the code that ssh shows before it waits for Enter."""
        said = terminal.wait_for(ENTER)
        found = CODE.search(said)
        assert found, said + self.place.log("sshd")
        return found[0]


@contextmanager
def unpacked(*packages: str, suite: str = SUITE) -> Iterator[tuple[Place, Path]]:
    """Yields a place, and in it a chroot of the suite with sshd and these packages. Skips if it cannot be made."""
    with skipping():
        need_root()
        if not MODULE.exists():
            raise UnavailableError("native/pam_sshaft.so is not built: ./dev setup host")
        tar = base_tar(suite, "openssh-client", "openssh-server", *packages)
    with Place() as place:
        root = place.directory / "root"
        root.mkdir()
        subprocess.run(["tar", "-x", "-C", root, "-f", tar, "--exclude=./dev/*"], check=True, timeout=120)
        root.chmod(0o755)
        yield place, root


def log_in(
    debian: Debian, *words: str, own: bool = False, user: str | None = None, person: str | None = None, **claims: Any
) -> str:
    """Logs in with an approval, and returns what the shell says.

    `person` approves, or else somebody of this name. The provider says these claims too.
    """
    terminal = debian.ssh(*words, own=own, user=user)
    debian.provider.answer(debian.code_at(terminal), user=person or user or "", **claims)
    terminal.type("\n")
    said, status = terminal.end()
    assert status == 0, said + debian.place.log("sshd") + debian.place.log("agent")
    return said
