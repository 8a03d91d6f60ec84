"""Prepares an identity service for load and runs it: in a directory of its own, with users and keys, as a process."""

import argparse
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert

from bench.load.database_rows import blob_of, fingerprint_of
from sshaft_identity import settings
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.commands.shared import open_store
from sshaft_identity.common.times import utc_now
from sshaft_identity.database.tables import ssh_keys, users

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from fakes.postgresql import PostgreSQL, programs, running

BATCH = 5000


@dataclass(frozen=True)
class Service:
    address: str
    pid: int

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.address.removeprefix("http://").partition(":")
        return host, int(port)


def add_database_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--database", metavar="URL", help="an empty PostgreSQL database (default: SQLite)")
    group.add_argument("--postgresql", action="store_true", help="start a PostgreSQL for this run and use it")


@contextmanager
def database_of(options: argparse.Namespace) -> Iterator[str | None]:
    """Yields the URL of the database, or None for SQLite."""
    if not options.postgresql:
        yield options.database
        return
    with postgresql() as server:
        yield server.url("identity")


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Runs a PostgreSQL with an empty database "identity". It has Debian's settings, so commits are safe."""
    directory = programs()
    if directory is None:
        raise SystemExit("needs PostgreSQL: apt-get install postgresql")
    with running(directory, settings=("listen_addresses=",)) as server:
        server.execute("CREATE DATABASE identity")
        yield server


def key_of(number: int) -> tuple[str, str]:
    """Returns a well-formed public key and its fingerprint. Nobody can sign with the key."""
    blob = blob_of(number)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}", fingerprint_of(blob)


def prepare(directory: Path, database: str | None, people: int) -> str:
    """Sets up the directory with `people` users, one key each. The database must be empty.

    Returns the secret of a client "bench" that may do everything.
    """
    identity = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory)]
    subprocess.run(
        [*identity, "init", *(["--database", database] if database else [])], check=True, stdout=subprocess.DEVNULL
    )
    with open_store(directory, settings.load(directory)) as store:
        now = utc_now()
        for start in range(0, people, BATCH):
            numbers = range(start, min(start + BATCH, people))
            with store.database.write() as connection:
                connection.execute(insert(users), [{"name": f"user{n}", "created_at": now} for n in numbers])
                rows = [
                    {"fingerprint": fingerprint_of(blob_of(n)), "user_name": f"user{n}", "type": "ssh-ed25519",
                     "blob": blob_of(n), "name": "", "source": "bench", "created_at": now}
                    for n in numbers
                ]  # fmt: skip
                connection.execute(insert(ssh_keys), rows)
        return store.clients.add(Client("bench", frozenset(list(Scope))), now)


@contextmanager
def serving(directory: Path, log: Path) -> Iterator[Service]:
    """Runs the service of `directory` on a free port of loopback; it writes its events to `log`."""
    command = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), "serve"]
    with log.open("w") as file, subprocess.Popen([*command, "--listen", "127.0.0.1:0"], stderr=file) as process:
        try:
            yield Service(_address(log), process.pid)
        finally:
            process.terminate()


def _address(log: Path) -> str:
    for _ in range(200):
        for line in log.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "identity.ready":
                return str(event["address"])
        time.sleep(0.1)
    raise SystemExit(f"the service did not start: {log.read_text()[:500]}")


def resident_mb(pid: int) -> float:
    """Returns the megabytes that a process has in memory."""
    return _megabytes(pid, "VmRSS:")


def peak_mb(pid: int) -> float:
    """Returns the most megabytes that a process has had in memory."""
    return _megabytes(pid, "VmHWM:")


def _megabytes(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
