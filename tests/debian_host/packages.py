"""Builds the Debian packages of this checkout, and boots a Debian on which apt installs them.

All parts run in that Debian, from the packages. It shares the network of this machine.
"""

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from debian_host.booted import MOUNTS, PACKAGES, cgroups, prepare, remove_cgroup, unshare
from debian_host.chroot import unpacked
from image.debian import CACHE, UnavailableError, base_tar, skipping

from sshaft_demo.parts import free_port, wait_for
from sshaft_demo.place import CHECKOUT, Place

TOOLS = CHECKOUT / "tools" / "deb"
NOT_IN_PACKAGES = ("tests/", "bench/", ".ci/")


def built(suite: str) -> Path:
    """Returns a folder with the packages of this checkout as it is now. It is kept for the next run.

    Raises `UnavailableError` if this machine cannot build them.
    """
    folder = CACHE / f"deb-{suite}-{_digest()}"
    if not folder.exists():
        part = CACHE / f"part-{suite}-{os.getpid()}"
        build(suite, part)
        for older in CACHE.glob(f"deb-{suite}-*"):
            shutil.rmtree(older)
        part.rename(folder)
    return folder


def build(suite: str, out: Path, *more: str) -> None:
    """Builds the packages as `./dev deb` does. Raises `UnavailableError` if this machine cannot build them."""
    tar = base_tar(suite, *(TOOLS / "packages").read_text().split())
    wheels = subprocess.run([TOOLS / "wheels", suite], check=False, capture_output=True, text=True, timeout=600)
    if wheels.returncode != 0:
        raise UnavailableError(f"no Python packages for {suite}: {wheels.stderr[-1000:]}")
    command = [TOOLS / "build", suite, wheels.stdout.split()[-1], out, tar, *more]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-5000:]


def _digest() -> str:
    """Returns a name for the content of all files that a package could have."""
    git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", CHECKOUT, "ls-files", "-z", "--cached", "--others"]
    names = subprocess.run([*git, "--exclude-standard"], check=True, capture_output=True, text=True).stdout
    digest = hashlib.sha256()
    for name in sorted(set(names.split("\0")) - {""}):
        path = CHECKOUT / name
        if not name.startswith(NOT_IN_PACKAGES) and path.is_file():
            digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def with_version(packages: Path, out: Path, change: tuple[str, str], *more: Callable[[Path], None]) -> None:
    """Writes packages of the same content with another version into `out`.

    `change` has a part of the version, and what takes its place. `more` change the folder with the Python packages.
    """
    out.mkdir()
    for path in packages.glob("*.deb"):
        tree = out / path.stem
        subprocess.run(["dpkg-deb", "--raw-extract", path, tree], check=True, timeout=120)
        control = tree / "DEBIAN" / "control"
        control.write_text(control.read_text().replace(*change))
        for site in tree.glob("usr/lib/sshaft/lib/python3*/site-packages"):
            for each in more:
                each(site)
        build_deb = ["dpkg-deb", "-Zgzip", "-z1", "--build", tree, out / path.name.replace(*change)]
        subprocess.run(build_deb, check=True, timeout=120, stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)


@dataclass
class Host:
    """A Debian that systemd has booted, with the packages in /packages. Its sshd listens at `ssh_port`."""

    place: Place
    root: Path
    packages: Path
    ssh_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        prepare(self.root)
        (self.root / "usr" / "sbin" / "policy-rc.d").unlink(missing_ok=True)
        (self.root / "etc" / "ssh" / "sshd_config.d" / "10-port.conf").write_text(
            f"Port {self.ssh_port}\nListenAddress 127.0.0.1\n"
        )
        for key in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
            shutil.copy(self.place.directory / key, self.root / "etc" / "ssh")
        shutil.copytree(self.packages, self.root / "packages")
        with skipping():
            self.cgroup = cgroups() / self.place.directory.name
        self.cgroup.mkdir()
        script = ["sh", "-c", MOUNTS.format(before=""), "sh", self.root]
        self.process = self.place.start("boot", ["env", "-i", f"PATH={os.defpath}:/usr/sbin:/sbin",
                                                 *unshare(self.cgroup), *script])  # fmt: skip
        wait_for(self._is_up, self.process, lambda: self.place.log("boot"), "systemd", seconds=60)

    def _is_up(self) -> bool:
        with suppress(OSError, ValueError, IndexError):
            state = self.run("systemctl", "is-system-running").stdout.strip()
            return state in ("running", "degraded")
        return False

    @property
    def init(self) -> int:
        """Returns the first process of the namespaces, which is the only child of unshare."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def run(self, *command: str, stdin: str = "", seconds: int = 240) -> "subprocess.CompletedProcess[str]":
        """Runs a program on the host. Standard error is part of the output."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--root", "--wd"]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {"PATH": path, "HOME": "/root", "LC_ALL": "C.UTF-8",
                       "DEBIAN_FRONTEND": "noninteractive"}  # fmt: skip
        return subprocess.run(
            [*enter, *command], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment, input=stdin, timeout=seconds,
        )  # fmt: skip

    def do(self, *command: str, stdin: str = "", seconds: int = 240) -> str:
        """Runs a program that must succeed, and returns its output."""
        done = self.run(*command, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{self.journal()}"
        return done.stdout

    def journal(self) -> str:
        """Returns the last lines that the services have logged."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-n", "50", "-u", "sshaft*", "-u", "ssh").stdout

    def state(self, unit: str) -> str:
        return self.run("systemctl", "is-active", unit).stdout.strip()

    def files(self, folder: str, *names: str) -> list[str]:
        """Returns the paths of these packages in a folder of the host."""
        folder_here = self.root / folder.removeprefix("/")
        return [f"{folder}/{path.name}" for name in names for path in folder_here.glob(f"{name}_*.deb")]

    def install(self, *names: str, folder: str = "/packages") -> str:
        """Installs packages by apt, with what they need from the Debian alone."""
        return self.do("apt-get", "install", "-y", "--no-install-recommends", *self.files(folder, *names))

    def stop(self) -> None:
        with suppress(OSError, ValueError, IndexError):
            os.kill(self.init, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        remove_cgroup(self.cgroup)


@contextmanager
def host(suite: str) -> Iterator[Host]:
    """Yields a booted Debian without sshaft, and with its packages in /packages. Skips if that cannot be made."""
    with skipping():
        packages = built(suite)
    with unpacked("python3", *PACKAGES, suite=suite) as (place, root):
        made = Host(place, root, packages)
        try:
            yield made
        finally:
            made.stop()
