"""Gives a test a machine of its own for `sshaft setup`: folders that only its processes see, in a mount namespace."""

import json
import subprocess
import sys
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

from sshaft import launchers
from sshaft_demo.host import Terminal

TOP = Path(__file__).resolve().parents[2]
_START = f"import sys; sys.path.insert(0, {str(TOP)!r}); from sshaft.__main__ import main; sys.exit(main())"
PROGRAM = [sys.executable, "-I", "-c", _START]
AGENT, IDENTITY = 64901, 64902
_ACCOUNTS = {"sshaft": AGENT, "sshaft-identity": IDENTITY, "_sshaft-keys": 64903, "mfa": 64904}
_SYSTEMCTL = """\
#!/bin/sh
# Writes down what it is asked, and knows which units are installed and which run.
echo "$*" >>/var/backups/systemctl
case $1 in
    is-active) grep -qx "$3" /var/backups/active || exit 3 ;;
    cat) [ "$3" != "$(cat /var/backups/missing)" ] || exit 1 ;;
    enable) echo "$3" >>/var/backups/active ;;
esac
"""


class File(NamedTuple):
    data: bytes
    mode: int
    uid: int
    changed: int


class SetupMachine:
    """A machine with the accounts and commands of the packages, and without any configuration of sshaft."""

    def __init__(self, directory: Path, *, with_accounts: bool = True, with_systemd: bool = False) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", "/etc", directory / "etc"], check=True)
        self.mounts = {"etc": "/etc", "lib": "/var/lib", "backups": "/var/backups", "libexec": "/usr/libexec"}
        for name in ("lib", "backups", "libexec", "run"):
            (directory / name).mkdir()
        self.commands: list[str] = []
        """What runs on the machine before the program, such as further mounts."""
        launchers.install(directory / "libexec/sshaft")
        for name, uid in _ACCOUNTS.items() if with_accounts else ():
            with (directory / "etc/passwd").open("a") as file:
                file.write(f"{name}:x:{uid}:{uid}::/var/empty:/usr/sbin/nologin\n")
        if with_systemd:
            self.mounts["run"] = "/run"
            (directory / "run/systemd/system").mkdir(parents=True)
            (directory / "libexec/systemctl").write_text(_SYSTEMCTL)
            (directory / "libexec/systemctl").chmod(0o755)
            (directory / "backups/active").touch()
            (directory / "backups/missing").touch()

    def copy(self, directory: Path) -> "SetupMachine":
        """Returns a machine that has everything that this one has."""
        subprocess.run(["cp", "-a", f"{self.directory}/.", directory], check=True)
        other = copy(self)
        other.directory = directory
        return other

    def command(self, *words: str | Path) -> list[str]:
        """Returns the command line of `sshaft WORDS` on this machine."""
        mounts = [f"mount --bind {self.directory}/{name} {place}" for name, place in self.mounts.items()]
        script = " && ".join([*mounts, *self.commands, 'PATH=/usr/libexec:$PATH exec "$@"'])
        own = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        return [*own, *PROGRAM, *map(str, words)]

    def run(self, *words: str | Path, stdin: str = "") -> tuple[int, str]:
        """Runs `sshaft WORDS`. Returns its exit status and what it wrote."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=120, check=False, input=stdin, cwd="/"
        )
        return done.returncode, done.stdout + done.stderr

    def setup(self, *options: str | Path) -> str:
        """Runs `sshaft setup --yes`, which must succeed, and returns what it wrote."""
        status, said = self.run("setup", "--yes", *options)
        assert status == 0, said
        return said

    def terminal(self, *words: str) -> Terminal:
        return Terminal(self.command("setup", *words))

    def path(self, name: str) -> Path:
        """Returns where the test finds a file of the machine."""
        for folder, place in self.mounts.items():
            if name.startswith(f"{place}/"):
                return self.directory / folder / name.removeprefix(f"{place}/")
        raise AssertionError(name)

    def json(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path(name).read_text())
        return found

    @property
    def config(self) -> dict[str, Any]:
        return self.json("/etc/sshaft/config.json")

    @property
    def identity(self) -> dict[str, Any]:
        return self.json("/var/lib/sshaft-identity/identity.json")

    @property
    def services(self) -> list[str]:
        """What systemctl was asked to do."""
        path = self.directory / "backups/systemctl"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if not line.startswith(("is-active", "cat"))]

    def files(self) -> dict[str, File]:
        """Returns each file of the machine, with everything that a change would change."""
        found = {}
        for folder in ("etc", "lib", "backups"):
            for path in (self.directory / folder).rglob("*"):
                if path.is_file() and not path.is_symlink() and path.name not in ("systemctl", "active", "missing"):
                    status = path.stat()
                    name = str(path.relative_to(self.directory))
                    found[name] = File(path.read_bytes(), status.st_mode & 0o7777, status.st_uid, status.st_mtime_ns)
        return found

    def changed_since(self, before: dict[str, File]) -> set[str]:
        """Returns the files that were made, changed or removed. The database of the service changes by itself."""
        after = self.files()
        names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        return {name for name in names if not name.endswith(("-wal", "-shm"))}
