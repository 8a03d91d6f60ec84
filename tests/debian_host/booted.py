"""Boots a Debian in a chroot: systemd is its first process, and starts sshd, cron and sshaft-accounts by their units.

It has namespaces of its own for mounts, processes, the host name and cgroups, and no devices but a few. It shares the
network of this machine, so that ssh and the agent are outside.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from debian_host.first_login import FirstLogins
from image.containers import wait_until
from image.debian import UnavailableError, skipping

from sshaft_demo.place import CHECKOUT

PACKAGES = ("systemd", "systemd-sysv", "libnss-systemd", "libpam-systemd", "dbus", "cron", "procps",
            "python3-venv", "ca-certificates")  # fmt: skip
MASKED = ("systemd-networkd.service", "systemd-networkd.socket", "console-getty.service", "getty@.service")
MOUNTS = """set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run" -o mode=755
mount -t tmpfs tmpfs "$1/dev" -o mode=755
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    set -- "$1" "$2" $node
    mknod -m 666 "$1/dev/$3" c "$4" "$5"
done
mkdir "$1/dev/pts" "$1/dev/shm"
mount -t devpts devpts "$1/dev/pts" -o newinstance,ptmxmode=0666,mode=620,gid=5
mount -t tmpfs tmpfs "$1/dev/shm"
ln -s pts/ptmx "$1/dev/ptmx"
ln -s /proc/self/fd "$1/dev/fd"
touch "$1/dev/console"
mount -t sysfs -o ro sysfs "$1/sys"
mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
mkdir -p "$1/run/lock"
{before}
exec chroot "$1" env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=no
"""
AGENT_OF_THIS_MACHINE = """mkdir -p "$1/run/sshaft/host"
mount --bind "$2" "$1/run/sshaft/host"
"""
SOCKET = """[Socket]
ListenStream=
ListenStream=/run/sshaft-accounts/accounts.sock
"""


def cgroups() -> Path:
    """Returns the tree of cgroups, version 2. Raises `UnavailableError`."""
    for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (path / "cgroup.procs").exists() and os.access(path, os.W_OK):
            return path
    raise UnavailableError("systemd needs cgroups of version 2, in which this process may make a group")


def prepare(root: Path) -> None:
    """Leaves out what a Debian without devices and a network of its own starts in vain."""
    (root / "etc" / "machine-id").write_text(os.urandom(16).hex() + "\n")
    units = root / "etc" / "systemd" / "system"
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")


def unshare(cgroup: Path) -> list[str | Path]:
    """Returns the command that starts systemd in this cgroup, and in namespaces of its own."""
    join = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', cgroup]
    return [*join, "unshare", "-m", "-p", "-u", "-C", "-f", "--kill-child"]


def remove_cgroup(cgroup: Path) -> None:
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()


@dataclass
class Booted(FirstLogins):
    """A booted Debian. systemd starts sshaft-accounts when the agent asks."""

    start: ClassVar[str] = MOUNTS.replace("{before}", AGENT_OF_THIS_MACHINE + "{before}")

    def __post_init__(self) -> None:
        with skipping():
            self.cgroup = cgroups() / self.place.directory.name
        self._install()
        self.cgroup.mkdir()
        super().__post_init__()

    def unshare(self) -> list[str | Path]:
        return unshare(self.cgroup)

    def _install(self) -> None:
        """Installs what the steps of docs/accounts.md install."""
        prepare(self.root)
        units = self.root / "etc" / "systemd" / "system"
        subprocess.run(["chroot", self.root, "python3", "-m", "venv", "--without-pip", "/opt/sshaft"], check=True)
        next(self.root.glob("opt/sshaft/lib/*/site-packages")).joinpath("sshaft.pth").write_text("/opt/sshaft\n")
        (self.root / "var" / "lib" / "sshaft-accounts").rmdir()
        for unit in ("sshaft-accounts.service", "sshaft-accounts.socket"):
            shutil.copy(CHECKOUT / "systemd" / unit, units)
        (units / "sshaft-accounts.socket.d").mkdir()
        (units / "sshaft-accounts.socket.d" / "place.conf").write_text(SOCKET)
        subprocess.run(["chroot", self.root, "systemctl", "enable", "sshaft-accounts.socket"], check=True)

    def start_accounts(self) -> None:
        wait_until(self.accounts_socket.exists, "systemd listens for sshaft-accounts")

    def journal(self, *words: str) -> str:
        return self.inside("journalctl", "--no-pager", "-o", "cat", *words).stdout

    def stop(self) -> None:
        super().stop()
        with suppress(OSError, subprocess.TimeoutExpired):
            self.process.wait(10)
        remove_cgroup(self.cgroup)
