"""Complete challenges over HTTP on loopback, one process of the service: start, list, accept, result.

    bench/run challenges [--database URL] [--seconds 20] [--connections 32] [--rate PER_SECOND]

Without --rate as many as go; with it so many a second, evenly, and the time of each from the moment it was due (so that
a service that stalls is not asked less). Prints one line of JSON and, with --table, a row for bench/README.md.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from sshaft.public_key import parse
from sshaft_identity import settings
from sshaft_identity.app_state import utc_now
from sshaft_identity.command_line import open_store

USERS = 1000


def key_of(number: int) -> tuple[str, str]:
    """A well-formed public key and its fingerprint; nobody has to sign with it here."""
    point = hashlib.sha256(f"bench {number}".encode()).digest()
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + point
    fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}", f"SHA256:{fingerprint}"


@dataclass
class Connection:
    """One kept HTTP/1.1 connection: just enough of it, so that the load costs less than what is loaded."""

    host: str
    port: int
    bearer: str
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)

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


async def run(host: str, port: int, bearer: str, options: argparse.Namespace) -> list[float]:
    """The time of each challenge, in seconds."""
    connections = [Connection(host, port, bearer) for _ in range(options.connections)]
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
            await challenge(connection, number % USERS)
            took.append(time.perf_counter() - due)

    await asyncio.gather(*(work(each) for each in connections))
    return took


def prepare(directory: Path, database: str | None) -> str:
    """A service with users, keys and a client; the client's secret."""
    identity = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory)]
    subprocess.run([*identity, "init", *(["--database", database] if database else [])], check=True, stdout=sys.stderr)
    rows = [{"user": f"user{n}", "authorized_key": key_of(n)[0]} for n in range(USERS)]
    with open_store(directory, settings.load(directory)) as store:
        for row in rows:
            store.enrolment.add_user(row["user"], utc_now())
            store.enrolment.add_keys(row["user"], [(parse(row["authorized_key"]), "")], utc_now())
    name = f"bench-{secrets.token_hex(4)}"
    scopes = [word for scope in ("challenges", "mfa:list", "mfa:accept") for word in ("--scope", scope)]
    made = subprocess.run([*identity, "client", "add", name, "--json", *scopes], check=True, capture_output=True)
    return str(json.loads(made.stdout)["client_secret"]) + " " + name


def token(url: str, secret: str, name: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}
    return str(requests.post(f"{url}/oauth2/token", data=form, timeout=10).json()["access_token"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=float)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sshaft-bench-") as place:
        directory = Path(place) / "id"
        secret, name = prepare(directory, options.database).split()
        line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), "serve"]
        with (
            open(Path(place) / "log", "w") as log,
            subprocess.Popen([*line, "--listen", "127.0.0.1:0"], stderr=log) as service,
        ):
            try:
                address = wait_for_address(Path(place) / "log")
                before = cpu_seconds(service.pid)
                host, _, port = address.removeprefix("http://").partition(":")
                took = sorted(asyncio.run(run(host, int(port), token(address, secret, name), options)))
                used = cpu_seconds(service.pid) - before
            finally:
                service.terminate()
    count = len(took)
    print(
        json.dumps(
            {
                "database": (options.database or "sqlite").partition(":")[0],
                "challenges": count,
                "per_second": round(count / options.seconds, 1),
                "p50_ms": round(took[count // 2] * 1000, 1),
                "p99_ms": round(took[int(count * 0.99)] * 1000, 1),
                "cpu_ms_each": round(used / count * 1000, 2),
            }
        )
    )


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


if __name__ == "__main__":
    main()
