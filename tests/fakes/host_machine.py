"""Gives a test copies of this machine's files of PAM and sshd, which only the processes of the test see."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.agent_process import PROGRAM

from sshaft_demo.host import MODULE

SECURITY = next(Path("/usr/lib").glob("*/security/pam_unix.so"), Path("/lib/security/pam_unix.so")).parent
FOLDERS = {
    "pam.d": Path("/etc/pam.d"), "ssh": Path("/etc/ssh"), "backups": Path("/var/backups"), "security": SECURITY,
}  # fmt: skip
PASSWORD = "s3cret"
_HASH = "$6$sshaft$fznVRrH/yTRqJfbl7nZW7TeGoB1yj96VfMNyAngfsjBEqQ5lm9osZqjW3LOD4MAw98uAGlB22ZUz3pGlRzqzE1"
ACCOUNTS = {
    "passwd": ("alice:x:59901:59901::/:/bin/sh", "admin:x:59911:59911::/:/bin/sh", "ops:x:59912:59912::/:/bin/sh",
               "locked:x:59913:59913::/:/bin/sh"),
    "shadow": ("alice:*:19000::::::", f"admin:{_HASH}:19000::::::", f"ops:{_HASH}:19000::::::", "locked:!:19000::::::"),
}  # fmt: skip
"""Accounts of the copies: two have a password."""


@contextmanager
def trusted_folder() -> Iterator[Path]:
    """Yields a folder that pam_sshaft trusts as root. /tmp is open to everybody."""
    with tempfile.TemporaryDirectory(prefix="sshaft-test-", dir="/run") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def write_config(folder: Path, **more: Any) -> Path:
    """Writes a config.json with host login. `more` are members of `host_login`."""
    host_login = {"issuer": "https://op.example", "client_id": "c", "allow": {"everyone": True},
                  "state_directory": str(folder)} | more  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps({"host_login": host_login}))
    path.chmod(0o600)
    return path


class HostMachine:
    """Copies of what `sshaft host enable` changes. The processes of `run` see them in place of the machine's.

    They are in a mount namespace of their own, so this needs root.
    """

    def __init__(self, directory: Path, runtime: Path, config: Path) -> None:
        self.directory = directory
        self.runtime = runtime
        self.config = config
        if not MODULE.exists():
            pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
        for name, original in FOLDERS.items():
            shutil.copytree(original, directory / name, symlinks=True)
        self.module = directory / "security" / "pam_sshaft.so"
        shutil.copyfile(MODULE, self.module)
        for name, more in ACCOUNTS.items():
            (directory / name).write_text("\n".join([Path(f"/etc/{name}").read_text().strip(), *more, ""]))

    def command(self, *words: str | Path) -> list[str]:
        """Returns the command line that runs a program with the copies."""
        seen = FOLDERS | {name: Path("/etc") / name for name in ACCOUNTS}
        mounts = [f"mount --bind {self.directory}/{name} {original}" for name, original in seen.items()]
        script = " && ".join([*mounts, 'exec "$@"'])
        own = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        return [*own, *map(str, words)]

    def run(self, *words: str | Path) -> tuple[int, str]:
        """Runs `sshaft WORDS`. Returns its exit status and what it wrote."""
        command = self.command(*PROGRAM, *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def enable(self, *options: str) -> tuple[int, str]:
        return self.run("host", "enable", "--runtime-directory", self.runtime, *options)

    def disable(self) -> tuple[int, str]:
        return self.run("host", "disable")

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.directory.rglob("*")) if path.is_file()}

    @property
    def stack_file(self) -> Path:
        return self.directory / "pam.d" / "sshd"

    @property
    def stack(self) -> str:
        return self.stack_file.read_text()

    def add_to_sshd(self, *lines: str) -> None:
        path = self.directory / "ssh" / "sshd_config.d" / "10-other.conf"
        path.write_text("".join(f"{line}\n" for line in lines))
