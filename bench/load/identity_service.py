"""A service to load: on a directory of its own, with users that have keys, as a process of its own."""

import argparse
import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import insert

from sshaft.public_key import parse
from sshaft_identity import settings
from sshaft_identity.app_state import utc_now
from sshaft_identity.clients import Scope
from sshaft_identity.command_line import open_store
from sshaft_identity.tables import ssh_keys, users

BATCH = 5000


def add_database_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--database", metavar="URL", help="an empty PostgreSQL database (default: SQLite)")
    group.add_argument("--postgresql", action="store_true", help="one in a PostgreSQL that is started for it")


@contextmanager
def database_of(options: argparse.Namespace) -> Iterator[str | None]:
    """The URL; None: SQLite."""
    if not options.postgresql:
        yield options.database
        return
    sys.path.append(str(Path(__file__).parents[2] / "tests"))
    from fakes.postgresql import programs, running  # noqa: PLC0415 - of the tests, and with psycopg

    where = programs()
    if where is None:
        raise SystemExit("needs PostgreSQL: apt-get install postgresql")
    with running(where, settings=("listen_addresses=",)) as server:  # and all else as Debian has it: commits are safe
        server.execute("CREATE DATABASE identity")
        yield server.url("identity")


def key_of(number: int) -> tuple[str, str]:
    """A well-formed public key and its fingerprint; nobody has to sign with it here."""
    point = hashlib.sha256(f"bench {number}".encode()).digest()
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + point
    fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}", f"SHA256:{fingerprint}"


def prepare(directory: Path, database: str | None, people: int) -> str:
    """Set the directory up with `people` users, each with a key, and a client "bench" that may do everything; its
    secret. A given database must be empty.
    """
    identity = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory)]
    subprocess.run([*identity, "init", *(["--database", database] if database else [])], check=True, stdout=sys.stderr)
    with open_store(directory, settings.load(directory)) as store:
        now = utc_now()
        for start in range(0, people, BATCH):
            numbers = range(start, min(start + BATCH, people))
            keys = {number: parse(key_of(number)[0]) for number in numbers}
            with store.database.write() as connection:
                connection.execute(insert(users), [{"name": f"user{n}", "created_at": now} for n in numbers])
                rows = [
                    {"fingerprint": key.fingerprint, "user_name": f"user{n}", "type": key.type, "blob": key.blob,
                     "name": "", "source": "bench", "created_at": now}
                    for n, key in keys.items()
                ]  # fmt: skip
                connection.execute(insert(ssh_keys), rows)
        return store.clients.add("bench", list(Scope), now)


def wait_for_address(log: Path) -> str:
    for _ in range(200):
        for line in log.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "identity.ready":
                return str(event["address"])
        time.sleep(0.1)
    raise SystemExit(f"the service did not start: {log.read_text()[:500]}")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
