"""Measures look-ups by fingerprint over HTTP on loopback: one process of the service, few rows and millions of rows.

    .venv/bin/python -m bench.load.lookups [--postgresql | --database URL] [--keys N] [--challenges N] [--purge]

The script asks the same questions four times, one after the other on one connection, with these databases:
    small    1,000 keys, 100 pending challenges
    large    --keys (10,000,000; on SQLite 1,000,000) and --challenges (1,000,000)
    uneven   as large, with as many challenges without a user, and 100,000 ended challenges of one user
    expired  as uneven; the challenges without a user have expired but are still pending, and the service purges them
With --purge the script purges the rest at the end and measures each transaction.

Prints a row for each question, in milliseconds: p50 and p99, and the ratio of p50 of large to p50 of small. Needs 8 GB
on PostgreSQL, 3 GB on SQLite.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import delete, make_url, update

from bench.load.challenges import Connection, token
from bench.load.database_rows import (
    KEYS_EACH,
    blob_of,
    fill_challenges,
    fill_keys,
    fingerprint_of,
    microseconds,
    of_nobody,
    of_one,
    of_users,
    settle,
)
from bench.load.identity_service import Service, add_database_options, database_of, prepare, serving
from bench.progress import say
from sshaft_identity import settings
from sshaft_identity.commands.shared import open_store
from sshaft_identity.common.times import utc_now
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import challenges
from sshaft_identity.service.purge import batches

SMALL_KEYS, SMALL_CHALLENGES = 1_000, 100
ENDED = 100_000
HOUR = 3600
Times = dict[str, list[float]]


@dataclass
class Load:
    """The questions to a service with `keys` keys. The first half of the users have a pending challenge."""

    connection: Connection
    keys: int
    times: Times = field(default_factory=lambda: defaultdict(list))
    random: Random = field(default_factory=Random)

    async def ask(
        self, case: str, method: str, path: str, body: dict[str, Any] | None = None, status: int = 200
    ) -> Any:
        began = time.perf_counter()
        answer = await self.connection.call(method, path, body, status)
        self.times[case].append(time.perf_counter() - began)
        return answer

    async def look_up(self, case: str, fingerprint: str) -> Any:
        return await self.ask(case, "GET", f"/api/v1/mfa/ssh/keys?fingerprint={fingerprint.replace('+', '%2B')}")

    async def look_ups(self, count: int) -> None:
        """Asks each kind twice: for the first time, and again with warm caches."""
        half = self.keys // 2
        kinds = {
            "look-up of a key for which something waits": lambda: blob_of(self.random.randrange(half)),
            "look-up of a key for which nothing waits": lambda: blob_of(self.random.randrange(half, self.keys)),
            "look-up of a key that nobody has": lambda: self.random.randbytes(51),
        }
        for case, blob in kinds.items():
            fingerprints = [fingerprint_of(blob()) for _ in range(count)]
            for when in (", first time", ""):
                for fingerprint in fingerprints:
                    found = await self.look_up(case + when, fingerprint)
                    if bool(found) != ("nobody" not in case):
                        raise RuntimeError(f"{case}: {found}")

    async def logins(self, count: int, key: int | None = None) -> None:
        """Runs logins of users without a pending challenge; with `key` all logins are of its owner."""
        by = "" if key is None else f" by the user with {ENDED:,} that are over"
        for _ in range(count):
            number = self.random.randrange(self.keys // 2 + KEYS_EACH, self.keys) if key is None else key
            user, fingerprint = f"user{number // KEYS_EACH}", fingerprint_of(blob_of(number))
            opened = await self.ask("start" + by, "POST", "/api/v1/challenges", {"user": user, "app": "bench"}, 201)
            await self.look_up("look-up of a key whose login began just now" + by, fingerprint)
            claim = {"user": user, "challenge": opened["id"], "code": opened["code"], "fingerprint": fingerprint}
            await self.ask("accept" + by, "POST", "/api/v1/mfa/ssh/accept", claim | {"client_ip": "127.0.0.1"})
            await self.ask("result" + by, "POST", f"/api/v1/challenges/{opened['id']}/consume", {})


async def load(service: Service, secret: str, keys: int, count: int) -> Times:
    connection = Connection(*service.host_and_port, token(service.address, secret))
    await connection.open()
    load = Load(connection, keys)
    await load.look_ups(count)
    await load.logins(count)
    await load.logins(count, keys - 1)
    return load.times


def forget_pages(directory: Path, database: str | None) -> None:
    """Drops the database's files from the page cache, where they are on this machine."""
    host = make_url(database).query.get("host") if database else str(directory)
    for path in Path(str(host or directory)).rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def expire(database: Database) -> None:
    nobody = challenges.c.code_index.is_not(None)
    with database.write() as connection:
        connection.execute(update(challenges).where(nobody).values(expires_at=utc_now()))


def purge(database: Database) -> None:
    times, rows = [], 0
    steps = batches(database, utc_now())
    began = time.perf_counter()
    while True:
        before = time.perf_counter()
        step = next(steps, None)
        if step is None:
            break
        times.append(time.perf_counter() - before)
        rows += step.rows
    seconds = time.perf_counter() - began
    each = f"p50 {p50(times):.1f} ms, p99 {p99(times):.1f} ms, longest {max(times) * 1000:.0f} ms"
    print(f"purge: {rows:,} rows in {len(times):,} transactions and {seconds:.0f} s; a transaction: {each}")


def p50(times: list[float]) -> float:
    return sorted(times)[len(times) // 2] * 1000


def p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)] * 1000


def run(directory: Path, database: str | None, options: argparse.Namespace) -> dict[str, Times]:
    secret = prepare(directory, database, 0)
    done: dict[str, Times] = {}

    def measure(name: str, keys: int) -> None:
        forget_pages(directory, database)
        with serving(directory, directory / "log") as service:
            say(f"measuring: {name}")
            done[name] = asyncio.run(load(service, secret, keys, options.count))

    with filling(directory) as filled:
        fill_keys(filled, range(SMALL_KEYS))
        fill_challenges(filled, of_users(SMALL_CHALLENGES, SMALL_KEYS // KEYS_EACH, microseconds(3 * HOUR)))
    measure("small", SMALL_KEYS)
    with filling(directory) as filled:
        with filled.write() as connection:
            connection.execute(delete(challenges))
        fill_keys(filled, range(SMALL_KEYS, options.keys))
        fill_challenges(filled, of_users(options.challenges, options.keys // KEYS_EACH, microseconds(3 * HOUR)))
    measure("large", options.keys)
    with filling(directory) as filled:
        last = f"user{(options.keys - 1) // KEYS_EACH}"
        fill_challenges(filled, of_one(last, ENDED, microseconds(-HOUR)))
        fill_challenges(filled, of_nobody(options.challenges, microseconds(3 * HOUR)))
    measure("uneven", options.keys)
    with filling(directory) as filled:
        expire(filled)
    measure("expired", options.keys)
    if options.purge:
        with filling(directory) as filled:
            purge(filled)
    return done


@contextmanager
def filling(directory: Path) -> Iterator[Database]:
    """Opens the database, to fill it while no service runs."""
    # It is closed before `forget_pages`: SQLite loses its locks on a file that its own process closes.
    with open_store(directory, settings.load(directory), patient=True) as store:
        yield store.database
        settle(store.database)


def table(done: dict[str, Times]) -> str:
    lines = ["| question | " + " | ".join(done) + " | large / small |", "|---" * (len(done) + 2) + "|"]
    for case in done["small"]:
        figures = [f"{p50(times[case]):.1f}, {p99(times[case]):.1f}" for times in done.values()]
        ratio = p50(done["large"][case]) / p50(done["small"][case])
        lines.append(f"| {case} | {' | '.join(figures)} | {ratio:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_database_options(parser)
    parser.add_argument("--keys", type=int, help=f"a multiple of {2 * KEYS_EACH}")
    parser.add_argument("--challenges", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=1000, help="how often each question is asked (default: 1000)")
    parser.add_argument("--purge", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the gigabytes are removed
    with tempfile.TemporaryDirectory(prefix="sshaft-bench-") as place, database_of(options) as database:
        options.keys = options.keys or (10_000_000 if database else 1_000_000)
        print(table(run(Path(place) / "id", database, options)))


if __name__ == "__main__":
    main()
