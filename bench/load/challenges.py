"""Complete challenges over HTTP on loopback, one process of the service: start, list, accept, result.

    .venv/bin/python -m bench.load.challenges [--postgresql] [--seconds 20] [--connections 32] [--rate PER_SECOND]

Without --rate as many as go; with it so many a second, evenly, and the time of each from the moment it was due (so that
a service that stalls is not asked less). Prints one line of JSON.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from bench.load.identity_service import (
    add_database_options,
    cpu_seconds,
    database_of,
    key_of,
    prepare,
    wait_for_address,
)

USERS = 1000


@dataclass
class Connection:
    """One kept HTTP/1.1 connection: just enough of it, so that the load costs less than what is loaded."""

    host: str
    port: int
    bearer: str
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)
    carried: int = 0
    """Bytes there and back."""

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None, expected: int = 200) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.bearer}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self.writer.write(head.encode() + content)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        status = int(answer[9:12])
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        text = await self.reader.readexactly(length)
        self.carried += len(head) + len(content) + len(answer) + length
        if status != expected:
            raise RuntimeError(f"{method} {path}: {status} {text[:200]!r}")
        return json.loads(text)


async def challenge(connection: Connection, number: int) -> None:
    """One web login from its start to its result."""
    user, (_, fingerprint) = f"user{number}", key_of(number)
    opened = await connection.call("POST", "/api/v1/challenges", {"user": user, "app": "bench"}, 201)
    (entry,) = await connection.call("GET", f"/api/v1/mfa/ssh/keys?fingerprint={fingerprint.replace('+', '%2B')}")
    claim = {"user": user, "challenge": entry["challenge"], "code": opened["code"], "fingerprint": fingerprint}
    await connection.call("POST", "/api/v1/mfa/ssh/accept", claim | {"client_ip": "127.0.0.1"})
    await connection.call("POST", f"/api/v1/challenges/{opened['id']}/consume", {})


One = Callable[[Connection, int], Awaitable[None]]


async def run(addresses: list[str], bearer: str, options: argparse.Namespace, one: One = challenge) -> list[float]:
    """The time of each, in seconds. Each connection stays with one of the services; `number` is that of a user."""
    places = [address.removeprefix("http://").split(":") for address in addresses]
    ours = [places[n % len(places)] for n in range(options.connections)]
    connections = [Connection(host, int(port), bearer) for host, port in ours]
    for each in connections:
        await each.open()
    took: list[float] = []
    numbers = iter(range(10**9))
    start = time.perf_counter()

    async def work(connection: Connection) -> None:
        while (now := time.perf_counter()) < start + options.seconds:
            number = next(numbers)
            due = start + number / options.rate if options.rate else now
            if due > start + options.seconds:
                return
            await asyncio.sleep(max(0, due - now))
            await one(connection, number % USERS)
            took.append(time.perf_counter() - due)

    await asyncio.gather(*(work(each) for each in connections))
    options.carried = sum(each.carried for each in connections)
    return took


def token(url: str, secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": "bench", "client_secret": secret}
    return str(requests.post(f"{url}/oauth2/token", data=form, timeout=10).json()["access_token"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_database_options(parser)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=float)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sshaft-bench-") as place, database_of(options) as database:
        directory = Path(place) / "id"
        secret = prepare(directory, database, USERS)
        line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), "serve"]
        with (
            open(Path(place) / "log", "w") as log,
            subprocess.Popen([*line, "--listen", "127.0.0.1:0"], stderr=log) as service,
        ):
            try:
                address = wait_for_address(Path(place) / "log")
                before = cpu_seconds(service.pid)
                took = sorted(asyncio.run(run([address], token(address, secret), options)))
                used = cpu_seconds(service.pid) - before
            finally:
                service.terminate()
    count = len(took)
    print(
        json.dumps(
            {
                "database": (database or "sqlite").partition(":")[0],
                "challenges": count,
                "per_second": round(count / options.seconds, 1),
                "p50_ms": round(took[count // 2] * 1000, 1),
                "p99_ms": round(took[int(count * 0.99)] * 1000, 1),
                "cpu_ms_each": round(used / count * 1000, 2),
                "bytes_each": round(options.carried / count),
            }
        )
    )


if __name__ == "__main__":
    main()
