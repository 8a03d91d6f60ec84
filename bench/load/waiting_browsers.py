"""Loads one process of the identity service with browsers that wait on live pages (server-sent events).

    .venv/bin/python -m bench.load.waiting_browsers [--browsers 5000] [--postgresql | --database URL]

Each browser waits for its own challenge. Then the script accepts some challenges and measures the time until their
browsers hear of it. It prints one line of JSON; `limit_mb` is the limit for the memory of the process.
"""

import argparse
import asyncio
import json
import resource
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from bench.load.identity_service import (
    Service,
    add_database_options,
    cpu_seconds,
    database_of,
    prepare,
    resident_mb,
    serving,
)
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenges import Opened, Wish
from sshaft_identity.commands.shared import open_store
from sshaft_identity.common.times import utc_now
from sshaft_identity.settings import changed, load, save
from sshaft_identity.store import Store

LIMIT_MB = 300
ACCEPTED = 50


class Browser:
    """An EventSource of a browser."""

    async def open(self, host: str, port: int, address: str, page_token: str) -> None:
        self.reader, writer = await asyncio.open_connection(host, port)
        head = f"GET /challenge/{page_token}/events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n"
        writer.write(f"{head}X-Forwarded-For: {address}\r\n\r\n".encode())
        await self.reader.readuntil(b"\r\n\r\n")

    async def hears(self, word: bytes) -> float:
        """Waits for an event with this word. Returns the time."""
        while word not in await self.reader.readline():
            pass
        return time.perf_counter()


async def wait(service: Service, store: Store, opened: list[Opened]) -> dict[str, float]:
    host, port = service.host_and_port
    browsers = [Browser() for _ in opened]
    began, before = time.perf_counter(), cpu_seconds(service.pid)
    for start in range(0, len(browsers), 100):
        some = zip(browsers[start : start + 100], opened[start : start + 100], strict=True)
        address = f"192.0.2.{start // 100 % 250}"  # the service limits the waiting pages of an address
        await asyncio.gather(*(browser.open(host, port, address, each.page_token) for browser, each in some))
    opening = {
        "opened_s": round(time.perf_counter() - began, 1),
        "opened_cpu_s": round(cpu_seconds(service.pid) - before, 1),
    }
    await asyncio.sleep(2)
    before, memory = cpu_seconds(service.pid), resident_mb(service.pid)
    await asyncio.sleep(10)
    busy = (cpu_seconds(service.pid) - before) / 10
    times = []
    for number in range(0, len(opened), max(1, len(opened) // ACCEPTED)):
        hearing = asyncio.create_task(browsers[number].hears(b"accepted"))
        began = time.perf_counter()
        attempt = Attempt(f"user{number}", opened[number].challenge.id, opened[number].code)
        await asyncio.to_thread(store.challenges.accept, attempt, utc_now())
        times.append(await hearing - began)
    times.sort()
    return opening | {
        "memory_mb": round(memory),
        "memory_mb_after": round(resident_mb(service.pid)),
        "share_of_a_core": round(busy, 2),
        "heard_ms_median": round(times[len(times) // 2] * 1000),
        "heard_ms_longest": round(times[-1] * 1000),
    }


def measure(directory: Path, database: str | None, count: int) -> dict[str, float]:
    prepare(directory, database, count)
    save(directory, changed(load(directory), {"trusted_proxies": ("127.0.0.1",)}))
    with open_store(directory, load(directory)) as store, serving(directory, directory / "log") as service:
        wishes = [Wish(f"user{number}", timedelta(minutes=10)) for number in range(count)]
        opened = [store.challenges.open(each, utc_now()) for each in wishes]
        return asyncio.run(wait(service, store, opened))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browsers", type=int, default=5000)
    add_database_options(parser)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="sshaft-bench-") as place, database_of(options) as database:
        figures = measure(Path(place) / "id", database, options.browsers)
    about = {"database": (database or "sqlite").partition(":")[0], "browsers": options.browsers}
    print(json.dumps(about | figures | {"limit_mb": LIMIT_MB}))


if __name__ == "__main__":
    main()
