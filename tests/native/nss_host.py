"""Shows libnss_sshaft to real programs, in a mount namespace where it is installed. Nothing of the machine changes."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from process.keys.conftest import NATIVE

from sshaft import messages

RESERVED = {"uid": "70100", "gid": "70100", "home": "/home/alice", "shell": "/bin/bash"}
ENTRY = "alice:!:70100:70100:no account yet (sshaft):/home/alice:/bin/bash"
NOBODY = "nobody 0"
"""What the client says of a name that no source knows, without an error."""
START = """set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run -o mode=755
mkdir -p /run/sshd /run/sshaft/host
mount --bind "$1/host" /run/sshaft/host
for file in "$1"/etc/*; do mount --bind "$file" "/etc/${file##*/}"; done
mount -t overlay overlay -o "lowerdir=$2:$3" "$3"
shift 3
exec "$@"
"""


def answer(**fields: str) -> bytes:
    """Returns what the agent says of a name, with some fields changed."""
    return messages.encode("name", RESERVED | fields)


@dataclass
class NssHost:
    """A host with the module. `folder` has the folder of the agent's socket, and the files that /etc has there.

    `programs` has the module and the client.
    """

    folder: Path
    programs: Path
    sources: str = "files sshaft"
    """The sources of the passwd database."""
    watch: list[str] = field(default_factory=list)
    """The program that runs the client."""

    @property
    def path(self) -> Path:
        """Returns the socket of the agent."""
        return self.folder / "host" / "names.sock"

    def write(self, name: str, text: str) -> None:
        """Writes a file of /etc."""
        folder = self.folder / "etc"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    def inside(self, *command: str | Path) -> list[str | Path]:
        """Returns the command that runs a program on the host."""
        self.write("nsswitch.conf", f"passwd: {self.sources}\ngroup: files\nshadow: files\n")
        libraries = next(Path("/usr/lib").glob("*/libc.so.6")).parent
        return ["unshare", "--mount", "sh", "-c", START, "sh", self.folder, self.programs, libraries, *command]

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Runs a program on the host."""
        return subprocess.run(
            self.inside(*command),
            capture_output=True, text=True, timeout=120, check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip

    def look_up(self, *words: str, program: str = "sshd") -> str:
        """Returns what a program of this name sees. Checks that no descriptor stays open."""
        path = self.programs / program
        if not path.exists():
            path.write_bytes((self.programs / "nss_client").read_bytes())
            path.chmod(0o755)
        done = self.run(*self.watch, path, *words)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "opened: 0\n" in done.stdout
        return done.stdout

    def entry(self, name: str = "alice", *options: str, program: str = "sshd") -> str:
        """Returns the entry of one name, without the name that was looked up."""
        found = re.search(rf"(?m)^{re.escape(name)}: (.*)$", self.look_up(*options, "--", name, program=program))
        assert found
        return found[1]


def build(folder: Path, *flags: str, sanitize: str = "") -> Path:
    """Builds the module and its client into `folder`."""
    if not Path("/usr/include/nss.h").exists():
        pytest.skip("needs libc6-dev: ./dev setup test")
    folder.chmod(0o755)  # it becomes the folder of libraries of the host
    module = folder / "libnss_sshaft.so.2"
    subprocess.run(["make", "-s", "-C", NATIVE, f"NSS_OUT={module}", *flags, module], check=True, timeout=120)
    source = Path(__file__).with_name("nss_client.c")
    client = ["cc", "-Wall", "-Wextra", "-Werror", "-g", *sanitize.split(), "-o", folder / "nss_client", source]
    subprocess.run([*client, "-pthread"], check=True, timeout=60)
    return folder
