"""Measures several agents and as many processes of the identity service over one PostgreSQL, and what a login takes of
each. The model in docs/performance.md uses these figures.

A login here has all steps but sshd and ssh: the web side opens a challenge, the question of the keys command and the
report of sshaft-login go to an agent's sockets, the web side takes the result.

    .venv/bin/python -m bench.comparisons.scale [--processes 1,2,3] [--seconds 15]

Everything runs on this machine, also the load: more processes than cores cannot be faster here. `predicted` is the
number of logins that the cores allow if every login costs what the most expensive one costs.
"""

import argparse
import asyncio
import json
import os
import pwd
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.comparisons.report import Comparison, Table, new_chart, table_of
from bench.load.challenges import Connection, token
from bench.load.challenges import run as load
from bench.load.identity_service import PostgreSQL, cpu_seconds, key_of, postgresql, prepare, serving
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft import messages

PEOPLE = 10_000
"""Registered people; the first `challenges.USERS` of them log in."""
PER_PROCESS = 16
PARTS = ("identity", "agent", "postgresql", "load")
COUNTERS = (
    "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted, pg_current_wal_lsn() - '0/0'::pg_lsn,"
    " pg_database_size('identity') FROM pg_stat_database WHERE datname = 'identity'"
)
SIZES = "SELECT pg_total_relation_size('users'), pg_total_relation_size('ssh_keys')"


def cpu_of_all(process: int) -> float:
    """Returns the CPU seconds of a process and of its children, also of those that have ended."""
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


def counters(server: PostgreSQL) -> list[float]:
    """Returns PostgreSQL's commits, rows written, bytes of log and bytes on disk."""
    server.execute("SELECT pg_stat_force_next_flush()")
    (row,) = server.execute(COUNTERS, "identity")
    return [float(value) for value in row]


class Agents:
    """Agents as sshd and sshaft-login use them, one for each identity service."""

    def __init__(self, directory: Path, secret: str, addresses: list[str], stack: ExitStack) -> None:
        self.pids = []
        self.runtimes = {}
        for number, address in enumerate(addresses):
            config = directory / f"agent-{number}.json"
            config.touch(0o600)
            config.write_text(json.dumps(settings_for(address, secret)))
            runtime = directory / f"run-{number}"
            runtime.mkdir(0o755, exist_ok=True)
            own = ["--config", str(config), "--runtime-directory", str(runtime)]
            user = pwd.getpwuid(os.geteuid()).pw_name
            line = [sys.executable, "-m", "sshaft", "agent", *own, "--keys-user", user, "--login-user", user]
            log = stack.enter_context((directory / f"agent-{number}.log").open("w"))
            process = stack.enter_context(subprocess.Popen(line, stderr=log))
            stack.callback(process.terminate)
            self.pids.append(process.pid)
            self.runtimes[int(address.rpartition(":")[2])] = runtime
            while not (runtime / "status.sock").exists():
                time.sleep(0.05)

    async def log_in(self, connection: Connection, number: int) -> None:
        runtime = self.runtimes[connection.port]
        key, fingerprint = key_of(number)
        type_, encoded = key.split()
        opened = await connection.call("POST", "/api/v1/challenges", {"user": f"user{number}", "app": "bench"}, 201)
        offered = {"fingerprint": fingerprint, "type": type_, "key": encoded}
        _, answer = await ask(runtime / "keys" / "agent.sock", "keys", offered)
        ticket = answer["lines"].partition("--ticket ")[2].partition('"')[0]
        report = {"ticket": ticket, "code": opened["code"], "key_type": type_, "key": encoded, "client_ip": "127.0.0.1"}
        _, result = await ask(runtime / "login" / "agent.sock", "accept", report)
        if result["state"] != "accepted":
            raise RuntimeError(str(result))
        await connection.call("POST", f"/api/v1/challenges/{opened['id']}/consume", {})


async def ask(socket: Path, kind: str, fields: dict[str, str]) -> tuple[str, dict[str, str]]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(messages.encode(kind, fields))
    answer = await reader.read(messages.MAX_MESSAGE)
    writer.close()
    return messages.decode(answer)


def settings_for(address: str, secret: str) -> dict[str, str]:
    api = f"{address}/api/v1/mfa/ssh"
    return {
        "token_endpoint": f"{address}/oauth2/token", "mfa_list_endpoint": f"{api}/keys",
        "mfa_accept_endpoint": f"{api}/accept", "client_id": "bench", "client_secret": secret,
        "token_scope": "mfa:list mfa:accept", "login_path": "/bin/true",
    }  # fmt: skip


def measure(server: PostgreSQL, directory: Path, secret: str, processes: int, seconds: float) -> dict[str, Any]:
    with ExitStack() as stack:
        logs = [directory.parent / f"log-{processes}-{number}" for number in range(processes)]
        services = [stack.enter_context(serving(directory, log)) for log in logs]
        addresses = [service.address for service in services]
        place = directory.parent / f"agents-{processes}"
        place.mkdir(0o755)
        agents = Agents(place, secret, addresses, stack)
        options = argparse.Namespace(connections=PER_PROCESS * processes, seconds=seconds, rate=None)
        bearer = token(addresses[0], secret)
        assert server.process
        postgres = server.process.pid

        def cpu() -> list[float]:
            """In the order of PARTS."""
            identity = sum(cpu_seconds(service.pid) for service in services)
            return [identity, sum(map(cpu_seconds, agents.pids)), cpu_of_all(postgres), cpu_seconds(os.getpid())]

        before, began = counters(server), cpu()
        count = len(asyncio.run(load(addresses, bearer, options, agents.log_in)))
        ended = cpu()
        commits, rows, wal, size = (after - was for after, was in zip(counters(server), before, strict=True))
    used = [(after - was) / count * 1000 for after, was in zip(ended, began, strict=True)]
    return {
        "a_second": round(count / seconds, 1),
        **{f"{part}_cpu_ms": round(each, 2) for part, each in zip(PARTS, used, strict=True)},
        "commits": round(commits / count, 1),
        "rows_written": round(rows / count, 1),
        "wal_bytes": round(wal / count),
        "stored_bytes": round(size / count),
    }


def run(processes: tuple[int, ...] = (1, 2, 3), seconds: float = 15.0) -> Rounds:
    with tempfile.TemporaryDirectory(prefix="sshaft-bench-") as place, postgresql() as server:
        directory = Path(place) / "id"
        secret = prepare(directory, server.url("identity"), PEOPLE)
        ((users, keys),) = server.execute(SIZES, "identity")
        found: dict[str, dict[str, Any]] = {}
        for done, number in enumerate(processes, 1):
            found[str(number)] = measure(server, directory, secret, number, seconds)
            predict(found)
            figures = {"processes": found, "bytes_a_person": round((users + keys) / PEOPLE)}
            yield Measured(done, len(processes), figures)


def predict(found: dict[str, dict[str, Any]]) -> None:
    most_expensive = max(sum(own[f"{part}_cpu_ms"] for part in PARTS) for own in found.values())
    for own in found.values():
        own["predicted"] = round((os.cpu_count() or 1) * 1000 / most_expensive, 1)


def table(figures: Figures) -> Table:
    columns = {
        "a_second": "logins a second",
        "identity_cpu_ms": "identity service's CPU, ms",
        "agent_cpu_ms": "agent's CPU, ms",
        "postgresql_cpu_ms": "PostgreSQL's CPU, ms",
        "load_cpu_ms": "load's CPU, ms",
        "commits": "commits",
        "rows_written": "rows written",
        "wal_bytes": "log (WAL), bytes",
        "stored_bytes": "disk, bytes",
        "predicted": "predicted logins a second",
    }
    return table_of("processes", columns, figures["processes"])


def plot(figures: Figures) -> Any:
    found = figures["processes"]
    chart = new_chart("Bar", "Logins a second by number of processes, PostgreSQL")
    chart.x_labels = list(found)
    chart.add("measured", [each["a_second"] for each in found.values()])
    chart.add("predicted", [each["predicted"] for each in found.values()])
    return chart


COMPARISON = Comparison(
    "several agents and processes of the identity service, with PostgreSQL",
    seconds=90,
    quick_seconds=30,
    whole=run,
    quick=lambda: run((1, 2), 3),
    table=table,
    plot=plot,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
