"""Sets up the parts of one login as they would be installed, for the comparisons: people with keys, agents, a proxy.

As root every part has its own account. As an ordinary user all parts are that user's; the figures are the same.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load.identity_service import cpu_seconds
from sshaft_demo.parts import Agent, Identity, Sshd, free_port
from sshaft_demo.place import KEYS, Place

LOAD = Path(__file__).parent
PEOPLE = 16
"""People with a key each. When one after the other logs in, the agent forgets each key before it comes back."""
NOTHING = "/bin/true"


@dataclass
class Trial:
    place: Place
    identity: Identity
    keys: list[Path]

    def agent(self, name: str = "agent", **changes: Any) -> Agent:
        """Starts an agent with its own client; `changes` are made in its config.json."""
        config = self.identity.write_config(self.place.directory / f"{name}.json")
        if changes:
            change(config, **changes)
        return Agent(self.place, config, name)

    def wait_for_everybody(self) -> list[dict[str, Any]]:
        """Opens a challenge for each person, with the longest lifetime."""
        return [self.identity.open_challenge(f"person{n}", expires_in=600) for n in range(len(self.keys))]

    def copied(self, name: str) -> Path:
        """Copies a script of this folder to a place where every account can read it."""
        return Path(shutil.copy(LOAD / name, self.place.directory))

    def original(self, config: Path) -> list[str]:
        """Returns the command line of `original_keys_command.py`."""
        interpreter = str(Path(sys.executable).resolve())
        packages = str(self.place.packages) if self.place.accounts.separate else sysconfig.get_path("purelib")
        return [interpreter, "-IS", str(self.copied("original_keys_command.py")), str(config), packages]

    @contextmanager
    def asking(self, agent: Agent, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Runs `keys_questions.py` against the agent's keys socket, until it ends or this context does."""
        packages, socket = str(self.place.packages), str(agent.runtime / "keys" / "agent.sock")
        with self.place.popen(
            [Path(sys.executable).resolve(), "-IS", self.copied("keys_questions.py"), packages, socket, *options],
            account=KEYS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def ask(self, agent: Agent, *options: str) -> dict[str, Any]:
        """Returns the figures of `keys_questions.py` for this agent."""
        with self.asking(agent, *options) as process:
            figures: dict[str, Any] = json.loads(process.communicate()[0])
        return figures


def change(config: Path, **changes: Any) -> None:
    """Changes members of a config.json and keeps its owner."""
    status = config.stat()
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    os.chown(config, status.st_uid, status.st_gid)


@contextmanager
def trial(people: int = PEOPLE) -> Iterator[Trial]:
    with Place() as place:
        identity = Identity(place, free_port(), 2222)
        keys = [place.generate_key(f"person{n}") for n in range(people)]
        identity.run_all([["user", "add", f"person{n}"] for n in range(people)])
        identity.run_all([["key", "add", f"person{n}", f"{key}.pub"] for n, key in enumerate(keys)])
        yield Trial(place, identity, keys)


@contextmanager
def proxy(target: int, *options: str) -> Iterator[int]:
    """Runs `proxy.py` in front of a port of 127.0.0.1 and yields the proxy's port."""
    port = free_port()
    command = [sys.executable, str(LOAD / "proxy.py"), str(port), str(target), *options]
    # In a session of its own: a Ctrl-C of the terminal must not reach it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield port
        finally:
            process.terminate()


@contextmanager
def tls_in_front(trial: Trial) -> Iterator[Callable[..., Path]]:
    """Runs a proxy with TLS in front of the identity service.

    Yields a function that writes a config.json for it, which the account of the keys command can read.
    """
    certificate, key = trial.place.directory / "tls.crt", trial.place.directory / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    certificate.chmod(0o644)
    with proxy(trial.identity.port, "--tls", str(certificate), str(key)) as port:

        def write(name: str, **changes: Any) -> Path:
            config = trial.identity.write_config(trial.place.directory / f"{name}.json")
            over_tls = config.read_text().replace(
                f"http://127.0.0.1:{trial.identity.port}", f"https://127.0.0.1:{port}"
            )
            config.write_text(json.dumps(json.loads(over_tls) | {"ca_file": str(certificate)} | changes))
            return trial.place.give(config, KEYS, 0o600)

        yield write


def log_in(sshd: Sshd, key: Path, word: str = "1") -> float:
    """Runs one real ssh to its end. Returns its seconds. Raises `CalledProcessError` if the login fails."""
    command = sshd.command(key, word)
    began = time.perf_counter()
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]}
    )
    return time.perf_counter() - began


@contextmanager
def cpu_of(*processes: "subprocess.Popen[bytes]") -> Iterator[list[float]]:
    """Yields a list, and fills it at the end with the CPU seconds that each process has used meanwhile."""
    before = [cpu_seconds(process.pid) for process in processes]
    used: list[float] = []
    yield used
    used += [cpu_seconds(process.pid) - was for process, was in zip(processes, before, strict=True)]


def memory_mb(pid: int) -> float:
    """Returns the memory that would be free without the process: its own pages and its share of common pages (Pss).

    An ordinary user can't look into the agent, which holds a secret. Then the own pages only are counted (RssAnon).
    """
    process, member = Path(f"/proc/{pid}"), "Pss:"
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except PermissionError:
        lines, member = (process / "status").read_text().splitlines(), "RssAnon:"
    return round(next(int(line.split()[1]) for line in lines if line.startswith(member)) / 1024, 1)
