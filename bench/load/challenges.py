"""Loads one process of the identity service with complete challenges over HTTP: open, list, accept, consume.

    .venv/bin/python -m bench.load.challenges [--postgresql] [--seconds 20] [--connections 32] [--rate PER_SECOND]

Without --rate the load is as high as the service allows. With --rate the challenges begin evenly, and the time of each
counts from the moment it was due: a service that stalls does not get less load. Prints one line of JSON.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from bench.load.identity_service import add_database_options, cpu_seconds, database_of, key_of, prepare, serving

USERS = 1000


@dataclass
class Connection:
    """A persistent HTTP/1.1 connection with only what is needed, so that the load costs less CPU than the service."""

    host: str
    port: int
    bearer: str
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)
    carried: int = 0
    """Bytes of requests and answers."""

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
    """Runs one web login from its challenge to its result."""
    user, (_, fingerprint) = f"user{number}", key_of(number)
    opened = await connection.call("POST", "/api/v1/challenges", {"user": user, "app": "bench"}, 201)
    (entry,) = await connection.call("GET", f"/api/v1/mfa/ssh/keys?fingerprint={fingerprint.replace('+', '%2B')}")
    claim = {"user": user, "challenge": entry["challenge"], "code": opened["code"], "fingerprint": fingerprint}
    await connection.call("POST", "/api/v1/mfa/ssh/accept", claim | {"client_ip": "127.0.0.1"})
    await connection.call("POST", f"/api/v1/challenges/{opened['id']}/consume", {})


Login = Callable[[Connection, int], Awaitable[None]]
"""Runs one login of the user with this number."""


async def run(addresses: list[str], bearer: str, options: argparse.Namespace, login: Login = challenge) -> list[float]:
    """Returns the seconds of each login. Each connection stays with one of the services."""
    places = [address.removeprefix("http://").split(":") for address in addresses]
    ours = [places[n % len(places)] for n in range(options.connections)]
    connections = [Connection(host, int(port), bearer) for host, port in ours]
    for each in connections:
        await each.open()
    times: list[float] = []
    numbers = iter(range(10**9))
    start = time.perf_counter()

    async def work(connection: Connection) -> None:
        while (now := time.perf_counter()) < start + options.seconds:
            number = next(numbers)
            due = start + number / options.rate if options.rate else now
            if due > start + options.seconds:
                return
            await asyncio.sleep(max(0, due - now))
            await login(connection, number % USERS)
            times.append(time.perf_counter() - due)

    await asyncio.gather(*(work(each) for each in connections))
    options.carried = sum(each.carried for each in connections)
    return times


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
        with serving(directory, Path(place) / "log") as service:
            before = cpu_seconds(service.pid)
            bearer = token(service.address, secret)
            times = sorted(asyncio.run(run([service.address], bearer, options)))
            used = cpu_seconds(service.pid) - before
    count = len(times)
    print(
        json.dumps(
            {
                "database": (database or "sqlite").partition(":")[0],
                "challenges": count,
                "per_second": round(count / options.seconds, 1),
                "p50_ms": round(times[count // 2] * 1000, 1),
                "p99_ms": round(times[int(count * 0.99)] * 1000, 1),
                "cpu_ms_each": round(used / count * 1000, 2),
                "bytes_each": round(options.carried / count),
            }
        )
    )


if __name__ == "__main__":
    main()
