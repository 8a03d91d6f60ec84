"""Builds the Debian packages of this checkout, and boots a Debian on which apt installs them.

All parts run in that Debian, from the packages. It shares the network of this machine.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from debian_host.booted import MOUNTS, PACKAGES, cgroups, prepare, remove_cgroup, unshare
from debian_host.chroot import unpacked
from image.debian import CACHE, UnavailableError, base_tar, skipping

from sshaft_demo.parts import free_port, wait_for
from sshaft_demo.place import CHECKOUT, Place

TOOLS = CHECKOUT / "tools" / "deb"
IDENTITY = ("sshaft", "identity")
LONG_AGO = 1_000_000_000
NOT_IN_PACKAGES = ("tests/", "bench/", ".ci/")


def built(suite: str) -> Path:
    """Returns a folder with the packages of this checkout as it is now. It is kept for the next run.

    Raises `UnavailableError` if this machine cannot build them.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"deb-{suite}.lock").open("w") as lock:  # test files that run at the same time share one build
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / f"deb-{suite}-{_digest()}"
        if not folder.exists():
            part = CACHE / f"part-{suite}-{os.getpid()}"
            build(suite, part)
            for older in CACHE.glob(f"deb-{suite}-*"):
                shutil.rmtree(older)
            part.rename(folder)
    return folder


def build(suite: str, out: Path, *more: str, checkout: Path = CHECKOUT, around: Sequence[str] = ()) -> None:
    """Builds the packages as `./dev deb` does. Raises `UnavailableError` if this machine cannot build them.

    `around` is a command that starts the build.
    """
    tar = builder(suite)
    if subprocess.run([CHECKOUT / "tools" / "xterm", "--is-there"], check=False).returncode != 0:
        raise UnavailableError("the terminal of sshaft web is missing: tools/xterm fetches it")
    command = [*around, checkout / "tools" / "deb" / "build", suite, wheels(suite), out, tar, *more]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-5000:]


def wheels(suite: str) -> Path:
    """Returns the folder with the wheels of this suite. Raises `UnavailableError` if they cannot be fetched."""
    found = subprocess.run([TOOLS / "wheels", suite], check=False, capture_output=True, text=True, timeout=600)
    if found.returncode != 0:
        raise UnavailableError(f"no Python packages for {suite}: {found.stderr[-1000:]}")
    return Path(found.stdout.split()[-1])


def builder(suite: str) -> Path:
    """Returns a tar of the Debian in which the packages are built. Raises `UnavailableError`."""
    debian, tools = ("bookworm", CHECKOUT / "tools" / "rpm") if suite == "el9" else (suite, TOOLS)
    return base_tar(debian, *(tools / "packages").read_text().split())


def _digest() -> str:
    """Returns a name for the content of all files that a package could have."""
    digest = hashlib.sha256()
    for name in files_of_the_checkout():
        if not name.startswith(NOT_IN_PACKAGES):
            path = CHECKOUT / name
            digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def files_of_the_checkout() -> list[str]:
    """Returns the files that git knows or would add."""
    git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", CHECKOUT, "ls-files", "-z", "--cached", "--others"]
    names = subprocess.run([*git, "--exclude-standard"], check=True, capture_output=True, text=True).stdout
    return sorted(name for name in set(names.split("\0")) if (CHECKOUT / name).is_file())


def copy_checkout(folder: Path) -> Path:
    """Copies the files of the checkout into a new folder, as another person has them: closed to others, and old."""
    for name in files_of_the_checkout():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, copy)
        copy.chmod(copy.stat().st_mode & 0o700)
        os.utime(copy, (LONG_AGO, LONG_AGO))
    return folder


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
        shutil.copytree(self.packages, self.root / "packages", ignore=shutil.ignore_patterns("*.buildinfo"))
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

    def run(self, *command: str, stdin: str = "", seconds: int = 600) -> "subprocess.CompletedProcess[str]":
        """Runs a program on the host. Standard error is part of the output."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--root", "--wd"]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                       "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}  # fmt: skip
        return subprocess.run(
            [*enter, *command], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment, input=stdin, timeout=seconds,
        )  # fmt: skip

    def do(self, *command: str, stdin: str = "", seconds: int = 600) -> str:
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

    def factor(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Runs ssh at the separate sshd, with the key of alice. Standard error is part of the output."""
        port = re.search(r"(?m)^Port (\d+)$", (self.root / "etc" / "ssh" / "sshaft_sshd_config").read_text())
        assert port
        known = self.place.directory / "known-of-factor"
        host_key = (self.root / "etc" / "ssh" / "keys" / "ssh_host_ed25519_key.pub").read_text()
        known.write_text(f"[127.0.0.1]:{port[1]} {host_key}")
        key = self.place.directory / "key-of-alice"
        options = ("-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
                   "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes")  # fmt: skip
        command = ["ssh", *options, "-p", port[1], "mfa@127.0.0.1", *words]
        return subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
        )

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


def log_in_by_the_factor(debian: Host) -> str:
    """Opens a challenge, and passes it by ssh at the separate sshd. Returns the state of the challenge."""
    opened = json.loads(debian.do(*IDENTITY, "challenge", "open", "alice", "--json"))
    done = debian.factor(opened["code"])
    assert done.returncode == 0, done.stdout + debian.journal()
    return str(json.loads(debian.do(*IDENTITY, "challenge", "show", opened["id"]))["state"])
