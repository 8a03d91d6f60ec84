"""Several processes of the identity service over one PostgreSQL, and what a login takes of each part: the numbers of
the model in docs/performance.md.

    .venv/bin/python bench/scale.py [--processes 1,2,3] [--seconds 15]

Everything runs on this machine, the load as well: more processes than it has cores can win nothing here. `predicted` is
what its cores allow if a login costs at every number of processes what it costs at the first.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from challenges import run as load
from challenges import token
from service import cpu_seconds, prepare, wait_for_address
from trial import say

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from fakes.postgresql import PostgreSQL, programs, running

PEOPLE = 10_000
PER_PROCESS = 16
COUNTED = (
    "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted, pg_current_wal_lsn() - '0/0'::pg_lsn,"
    " pg_database_size('identity') FROM pg_stat_database WHERE datname = 'identity'"
)
SIZES = "SELECT pg_total_relation_size('users'), pg_total_relation_size('ssh_keys')"


def cpu_of_all(process: int) -> float:
    """Of a process and of its children, those that have ended as well."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = entry.parent.name, entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if pid == str(process):
            ticks += sum(map(int, rest[11:15]))
        elif rest[1] == str(process):
            ticks += sum(map(int, rest[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def counted(server: PostgreSQL) -> list[float]:
    server.execute("SELECT pg_stat_force_next_flush()")
    (row,) = server.execute(COUNTED, "identity")
    return [float(value) for value in row]


def measure(server: PostgreSQL, directory: Path, secret: str, processes: int, seconds: float) -> dict[str, Any]:
    line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), "serve"]
    with ExitStack() as stack:
        services, addresses = [], []
        for number in range(processes):
            log = directory.parent / f"log-{processes}-{number}"
            file = stack.enter_context(log.open("w"))
            service = stack.enter_context(subprocess.Popen([*line, "--listen", "127.0.0.1:0"], stderr=file))
            stack.callback(service.terminate)
            services.append(service.pid)
            addresses.append(wait_for_address(log))
        options = argparse.Namespace(connections=PER_PROCESS * processes, seconds=seconds, rate=None)
        bearer = token(addresses[0], secret)
        assert server.process
        before, began = counted(server), (sum(map(cpu_seconds, services)), cpu_of_all(server.process.pid), _own())
        count = len(asyncio.run(load(addresses, bearer, options)))
        ended = (sum(map(cpu_seconds, services)), cpu_of_all(server.process.pid), _own())
        commits, rows, wal, size = (after - was for after, was in zip(counted(server), before, strict=True))
    identity, database, ours = ((after - was) / count * 1000 for after, was in zip(ended, began, strict=True))
    return {
        "a_second": round(count / seconds, 1),
        "identity_cpu_ms": round(identity, 2),
        "postgresql_cpu_ms": round(database, 2),
        "load_cpu_ms": round(ours, 2),
        "requests": 4,
        "http_bytes": round(options.carried / count),
        "commits": round(commits / count, 1),
        "rows_written": round(rows / count, 1),
        "wal_bytes": round(wal / count),
        "stored_bytes": round(size / count),
    }


def _own() -> float:
    return cpu_seconds(os.getpid())


def run(processes: list[int], seconds: float) -> dict[str, Any]:
    where = programs()
    if where is None:
        raise SystemExit("needs PostgreSQL: apt-get install postgresql")
    with (
        tempfile.TemporaryDirectory(prefix="sshaft-bench-") as place,
        running(where, settings=("listen_addresses=",)) as server,
    ):
        server.execute("CREATE DATABASE identity")
        directory = Path(place) / "id"
        secret = prepare(directory, server.url("identity"), PEOPLE)
        ((users, keys),) = server.execute(SIZES, "identity")
        found = {}
        for number in processes:
            say(f"  {number} of the identity service's processes")
            found[str(number)] = measure(server, directory, secret, number, seconds)
    first = found[str(processes[0])]
    each = sum(first[f"{part}_cpu_ms"] for part in ("identity", "postgresql", "load"))
    cores = os.cpu_count() or 1
    for number, own in found.items():
        # one process of Python runs on one core at a time
        by_process = int(number) * 1000 / first["identity_cpu_ms"]
        own["predicted"] = round(min(by_process, cores * 1000 / each), 1)
    return {"processes": found, "bytes_a_person": round((users + keys) / PEOPLE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2,3")
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args()
    print(json.dumps(run([int(number) for number in options.processes.split(",")], options.seconds), indent=1))


if __name__ == "__main__":
    main()
