"""Gives a test a whole copy of this machine, in which a first login can be set up: agent, sshaft-accounts, modules."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from fakes.agent_process import PROGRAM, AgentProcess
from fakes.computers import Computer
from fakes.host_machine import ACCOUNTS, FOLDERS, SECURITY, write_config

from sshaft_demo.host import MODULE
from sshaft_demo.place import CHECKOUT

NSS_MODULE = CHECKOUT / "native" / "libnss_sshaft.so.2"
RUNTIME = Path("/run/sshaft")
_SPACES = ("net", "uts", "mnt")
"""The namespaces of a machine."""
HOLD = """set -e
for folder in /etc "$2" /var; do
    mkdir -p "$1/over$folder/upper" "$1/over$folder/work"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$1/over$folder/upper,workdir=$1/over$folder/work" "$folder"
done
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs -o mode=0755 tmpfs /home
mkdir -p /run/sshd /etc/sshaft /var/lib/sshaft-accounts
mount --bind "$1/state" /var/lib/sshaft-accounts
echo ready
exec sleep 3600
"""


class FirstLoginMachine:
    """A machine whose agent has `create`. Only its own processes see what changes in it. It needs root.

    `root` is the machine as a process of the tests reaches it.
    """

    def __init__(
        self, directory: Path, options: Sequence[str] = (), computer: Computer | None = None, **host_login: Any
    ) -> None:
        """`options` are of the agent; `host_login` are members of its configuration, `create` among them.

        `computer` has the network and the host name of the machine. Without it, they are those of the test.
        """
        if not (MODULE.exists() and NSS_MODULE.exists()):
            pytest.skip("native/libnss_sshaft.so.2 is not built: ./dev setup host")
        self.options = options
        self.config = write_config(directory, **{"create": {}, **host_login})
        self.state = directory / "state"
        self._above = directory
        self._computer = computer or Computer("127.0.0.1", os.getpid())
        self._helper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.state.mkdir(mode=0o700)
        hold = self._computer.command("unshare", "-m", "--propagation", "private", "sh", "-c", HOLD, "sh")
        with ExitStack() as stack:
            self._holder = subprocess.Popen([*hold, self._above, SECURITY.parent], stdout=subprocess.PIPE, text=True)
            stack.callback(self._end_all)
            assert self._holder.stdout
            assert self._holder.stdout.readline() == "ready\n"
            self._write_files()
            stack.callback(self.stop_helper)
            self.start_helper()
            self.start_agent()
            stack.callback(self.kill_agent)
            self._ends = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def processes(self, uid: int | None = None) -> list[int]:
        """Returns the processes in the machine, of everybody or of this uid.

        Other machines have processes with the same uids, and see each other's.
        """
        own = (Path("/proc") / str(self._holder.pid) / "ns" / "mnt").readlink()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if (process / "ns" / "mnt").readlink() == own and uid in (None, process.stat().st_uid):
                    found.append(int(process.name))
        return found

    def _end_all(self) -> None:
        """Kills whatever still runs in the machine, such as the sessions of a test that has failed."""
        for process in self.processes():
            with suppress(OSError):  # it has ended
                os.kill(process, signal.SIGKILL)
        self._holder.communicate()

    def _write_files(self) -> None:
        self.root = Path(f"/proc/{self._holder.pid}/root")
        self.module = self._inside(SECURITY) / MODULE.name
        self.nss_module = self._inside(SECURITY.parent) / NSS_MODULE.name
        for path, built in ((self.module, MODULE), (self.nss_module, NSS_MODULE)):
            path.write_bytes(built.read_bytes())
        for name, more in ACCOUNTS.items():
            with (self.root / "etc" / name).open("a") as file:
                file.writelines(f"{line}\n" for line in more)
        self.switch = self.root / "etc" / "nsswitch.conf"
        self.switch.write_text("passwd:         files systemd\ngroup:          files systemd\n")
        self.stack_file = self.root / "etc" / "pam.d" / "sshd"
        self.policy = self.root / "etc" / "sshaft" / "accounts.json"
        self.policy.write_text("{}")
        self.socket = self.root / "run" / "sshaft-accounts.sock"

    def _inside(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    def _enter(self) -> None:
        """Moves this process into the machine."""
        libc = ctypes.CDLL(None, use_errno=True)
        for space in _SPACES:  # setns knows the kind by the file
            if libc.setns(os.open(f"/proc/{self._holder.pid}/ns/{space}", os.O_RDONLY), 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def start_agent(self) -> None:
        notify = self._above / "notify"
        notify.unlink(missing_ok=True)
        self.agent = AgentProcess(
            self.config, RUNTIME, *self.options, notify=notify, preexec_fn=self._enter
        ).__enter__()

    def kill_agent(self) -> None:
        """Kills the agent as `kill -9` does."""
        self.agent.__exit__()

    def start_helper(self) -> None:
        self._helper = subprocess.Popen(self.command(sys.executable, "-I", "-m", "sshaft_accounts"))
        while not self.socket.exists():
            assert self._helper.poll() is None
            time.sleep(0.02)

    def stop_helper(self) -> None:
        if self._helper is not None:
            self._helper.terminate()
            self._helper.wait(10)
            self.socket.unlink(missing_ok=True)
            self._helper = None

    def command(self, *words: str | Path) -> list[str]:
        return Computer(self._computer.address, self._holder.pid).command("--mount", *words)

    def run(self, *words: str | Path) -> tuple[int, str]:
        """Runs `sshaft WORDS`. Returns its exit status and what it wrote."""
        command = self.command(*PROGRAM, *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def enable(self, *options: str) -> tuple[int, str]:
        return self.run("host", "enable", *options)

    def disable(self) -> tuple[int, str]:
        return self.run("host", "disable")

    def files(self) -> dict[str, bytes]:
        etc = self.root / "etc"
        folders = [etc / "pam.d", etc / "ssh", etc / "sshaft", self._inside(FOLDERS["backups"])]
        alone = [self.switch, self.module, self.nss_module, etc / "login.defs", etc / "subuid", self.config]
        paths = [*alone, *(path for folder in folders for path in sorted(folder.rglob("*")))]
        return {str(path): path.read_bytes() for path in paths if path.is_file()}

    @contextmanager
    def restored(self) -> Iterator[Self]:
        """Puts the files back at the end of the block, and starts sshaft-accounts again if it was stopped."""
        before = self.files()
        modes = {path: Path(path).stat().st_mode & 0o7777 for path in before}
        yield self
        for path in set(self.files()) - set(before):
            Path(path).unlink()
        for path, data in before.items():
            Path(path).write_bytes(data)
            Path(path).chmod(modes[path])
        if self._helper is None:
            self.start_helper()

    def add_to_sshd(self, *lines: str) -> None:
        path = self.root / "etc" / "ssh" / "sshd_config.d" / "10-other.conf"
        path.write_text("".join(f"{line}\n" for line in lines))

    def set_policy(self, **members: object) -> None:
        self.policy.write_text(json.dumps(members))
