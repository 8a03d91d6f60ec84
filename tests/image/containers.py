"""Starts containers of the image with the commands of docs/container.md."""

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load.container_engine import Engine

CHECKOUT = Path(__file__).parent.parent.parent
SUITE = os.environ.get("SUITE", "trixie")
AGENT_UID = 480

StartFactor = Callable[..., "Factor"]


@dataclass(frozen=True)
class Checkout:
    """Makes a copy of the project that holds secrets, as real checkouts may do."""

    directory: Path
    secret: str


def wait_until(happened: Callable[[], object], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def documented_command(heading: str) -> list[str]:
    """Returns the `docker run` command under a heading of docs/container.md, without its first two words."""
    section = (CHECKOUT / "docs/container.md").read_text().split(f"\n## {heading}\n")[1]
    command = re.search(r"```sh\n(docker run .*?)```", section, re.DOTALL)
    assert command
    return shlex.split(command[1].replace("\\\n", " "))[2:]


@dataclass
class Mounts:
    """A folder for the host's /etc/sshaft: config.json and keys/, with the documented owners."""

    directory: Path
    secret: str = "secret-not-used"

    def __post_init__(self) -> None:
        (self.directory / "keys").mkdir(mode=0o700, parents=True)
        key = self.directory / "keys/ssh_host_ed25519_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self.write_config()

    @property
    def config(self) -> Path:
        return self.directory / "config.json"

    def write_config(self) -> None:
        """Writes the example of the project, with the identity service on the loopback of the factor."""
        text = (CHECKOUT / "config.json").read_text().replace("https://identity.example.com", "http://127.0.0.1:8080")
        self.config.write_text(text.replace("change-me", self.secret))
        self.config.chmod(0o400)
        os.chown(self.config, AGENT_UID, -1)


@dataclass(frozen=True)
class Factor:
    """A container of the factor."""

    engine: Engine
    container: str
    mounts: Mounts

    @property
    def port(self) -> str:
        return self.engine("port", self.container, "2222/tcp").stdout.split()[0].rpartition(":")[2]

    def pids(self, word: bytes) -> list[int]:
        """Returns the ids, on the host, of the processes with `word` in their command lines."""
        return [pid for pid in self.engine.processes(self.container) if word in cmdline(pid)]

    def execute(self, account: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.engine("exec", "-u", account, self.container, *command, check=check)

    def signal_agent(self, name: str) -> None:
        self.execute("sshaft", "pkill", f"-{name}", "-u", "sshaft", "-f", " agent ")

    def ssh(self, key: Path, *words: str) -> list[str]:
        """Returns the command line of an ssh to the factor."""
        known = self.mounts.directory / "known_hosts"
        host_key = (self.mounts.directory / "keys/ssh_host_ed25519_key.pub").read_text()
        known.write_text(f"[127.0.0.1]:{self.port} {host_key}")
        options = ["IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes", "BatchMode=yes"]
        options += [f"UserKnownHostsFile={known}", "LogLevel=ERROR"]
        line = ["ssh", "-F", "none", "-T", "-p", self.port, "-i", str(key)]
        return [*line, *(f"-o{option}" for option in options), "mfa@127.0.0.1", *words]

    def log_in(self, key: Path, *words: str) -> subprocess.CompletedProcess[str]:
        command = self.ssh(key, *words)
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def start_factor(
    engine: Engine, image: str, mounts: Mounts, options: list[str] | None = None, *, ready: bool = True
) -> Factor:
    """Starts a factor, by default with the documented options. `ready`: waits until sshd listens."""
    options = factor_options() if options is None else options
    words = [word.replace("/etc/sshaft/", f"{mounts.directory}/") for word in options]
    factor = Factor(engine, engine.run(*words, image), mounts)
    if ready:
        wait_until(
            lambda: (
                "Server listening on 0.0.0.0" in engine.logs(factor.container)
                or engine.inspect(factor.container, "{{.State.Status}}") == "exited"
            ),
            "sshd listens",
        )
        assert engine.inspect(factor.container, "{{.State.Status}}") == "running", engine.logs(factor.container)
    return factor


def factor_options(*more: str, without: str = "(?!)") -> list[str]:
    """Returns the documented options with a free port, without a name, and without those that match `without`."""
    *words, image = documented_command("The factor")
    assert image == "sshaft"
    assert words[:5] == ["-d", "--name", "sshaft", "-p", "2222:2222"]
    # One word for each option: docker accepts `-v=...` and `--tmpfs=...` too.
    text = re.sub(r"(?<!\S)(-v|--tmpfs|--security-opt|--memory|--pids-limit) ", r"\1=", " ".join(words[5:]))
    return ["-p=127.0.0.1::2222", *(word for word in text.split() if not re.search(without, word)), *more]


@dataclass(frozen=True)
class Site:
    """A factor with the documented options, and an identity service with Alice on the loopback of the factor."""

    engine: Engine
    factor: Factor
    identity: str
    volume: str
    key: Path
    wrong_key: Path

    def open_challenge(self) -> dict[str, Any]:
        text = self.engine("exec", self.identity, "sshaft", "identity", "challenge", "open", "alice", "--json").stdout
        opened: dict[str, Any] = json.loads(text)
        return opened

    def state(self, challenge: dict[str, Any]) -> str:
        text = self.engine("exec", self.identity, "sshaft", "identity", "challenge", "show", challenge["id"]).stdout
        return str(json.loads(text)["state"])


def start_identity(engine: Engine, image: str, factor: Factor, volume: str) -> str:
    """Runs the documented command in the network namespace of the factor."""
    words = documented_command("The identity service")[1:]
    place = words.index("-p")
    words[place : place + 2] = [f"--network=container:{factor.container}"]
    words[words.index("--name") : words.index("--name") + 2] = []
    words = [word.replace("sshaft-identity:/", f"{volume}:/") for word in words]
    words[words.index("sshaft")] = image
    identity = engine.run(*words)
    wait_until(lambda: '"identity.ready"' in engine.logs(identity), "the identity service is ready")
    return identity


@contextmanager
def stopped(factor: Factor) -> Iterator[None]:
    """Stops the agent inside the block, so that its clients wait."""
    factor.signal_agent("STOP")
    try:
        yield
    finally:
        factor.signal_agent("CONT")
