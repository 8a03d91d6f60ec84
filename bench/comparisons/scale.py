"""Several agents and as many processes of the identity service over one PostgreSQL, and what a login takes of each:
the numbers of the model in docs/performance.md. A login is all of it but sshd and ssh: the web side starts it, the keys
command's question and sshaft-login's report go to an agent's sockets, the web side takes the result.

    .venv/bin/python -m bench.comparisons.scale [--processes 1,2,3] [--seconds 15]

Everything runs on this machine, the load as well: more processes than it has cores can win nothing here. `predicted` is
what its cores allow if a login costs at every number of processes what it costs where it costs most.
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

from bench.load.challenges import Connection, token
from bench.load.challenges import run as load
from bench.load.identity_service import cpu_seconds, key_of, prepare, wait_for_address
from bench.load.trial import say
from sshaft import messages

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from fakes.postgresql import PostgreSQL, programs, running

PEOPLE = 10_000  # of whom challenges.USERS log in
PER_PROCESS = 16
PARTS = ("identity", "agent", "postgresql", "load")
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


class Agents:
    """As sshd and sshaft-login use them, each with one of the services."""

    def __init__(self, directory: Path, secret: str, addresses: list[str], stack: ExitStack) -> None:
        self.processes = []
        self.sockets = {}
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
            self.processes.append(process.pid)
            self.sockets[int(address.rpartition(":")[2])] = runtime
            while not (runtime / "status.sock").exists():
                time.sleep(0.05)

    async def log_in(self, connection: Connection, number: int) -> None:
        runtime = self.sockets[connection.port]
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
        place = directory.parent / f"agents-{processes}"
        place.mkdir(0o755)
        agents = Agents(place, secret, addresses, stack)
        options = argparse.Namespace(connections=PER_PROCESS * processes, seconds=seconds, rate=None)
        bearer = token(addresses[0], secret)
        assert server.process

        def cpu() -> list[float]:
            ours = cpu_seconds(os.getpid())
            return [sum(map(cpu_seconds, services)), sum(map(cpu_seconds, agents.processes)),
                    cpu_of_all(server.process.pid), ours]  # fmt: skip

        before, began = counted(server), cpu()
        count = len(asyncio.run(load(addresses, bearer, options, agents.log_in)))
        ended = cpu()
        commits, rows, wal, size = (after - was for after, was in zip(counted(server), before, strict=True))
    used = [(after - was) / count * 1000 for after, was in zip(ended, began, strict=True)]
    return {
        "a_second": round(count / seconds, 1),
        **{f"{part}_cpu_ms": round(each, 2) for part, each in zip(PARTS, used, strict=True)},
        "commits": round(commits / count, 1),
        "rows_written": round(rows / count, 1),
        "wal_bytes": round(wal / count),
        "stored_bytes": round(size / count),
    }


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
    dearest = max(sum(own[f"{part}_cpu_ms"] for part in PARTS) for own in found.values())
    for own in found.values():
        own["predicted"] = round((os.cpu_count() or 1) * 1000 / dearest, 1)
    return {"processes": found, "bytes_a_person": round((users + keys) / PEOPLE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2,3")
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args()
    print(json.dumps(run([int(number) for number in options.processes.split(",")], options.seconds), indent=1))


if __name__ == "__main__":
    main()
