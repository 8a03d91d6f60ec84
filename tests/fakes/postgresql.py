"""Runs Debian's PostgreSQL in a temporary folder, on a unix socket only.

PostgreSQL refuses to run as root, so a test as root runs it as an account without rights.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

SUPERUSER = "sshaft"
TEMPLATE = "migrated"
# What a crash of the machine would lose does not matter here, and every commit is fast.
SETTINGS = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "listen_addresses=", "max_connections=200")
# What was committed outlives SIGKILL.
CRASH_SAFE = ("fsync=off", "synchronous_commit=on", "listen_addresses=", "max_connections=200")


def programs() -> Path | None:
    """Returns the folder of the newest `initdb` and `postgres`."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    return Path(found).parent if found else None


@dataclass
class PostgreSQL:
    directory: Path
    programs: Path
    settings: tuple[str, ...] = SETTINGS
    process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str, user: str = SUPERUSER) -> str:
        return f"postgresql://{user}@/{database}?host={self.directory}"

    def init(self) -> None:
        # Passwords are asked of nobody but accounts whose name starts with "locked".
        self._run("initdb", "--pgdata=data", f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8",
                  "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        hba = self.directory / "data/pg_hba.conf"
        hba.write_text("local all locked scram-sha-256\n" + hba.read_text())

    def start(self) -> None:
        options = [word for setting in self.settings for word in ("-c", setting)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", "data", "-k", str(self.directory), *options],
                stdout=log,
                stderr=log,
                **self._as_account(),
            )
        for _ in range(300):
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                self.process.poll()
                assert self.process.returncode is None, (self.directory / "log").read_text()
                try:
                    self.process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
            else:
                return
        raise AssertionError((self.directory / "log").read_text())

    def stop(self) -> None:
        """Stops the server at once. Each connected client gets a message and is disconnected."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None

    def crash(self) -> None:
        """Kills the server, waits for its children to end, and starts it again."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)
        for _ in range(100):
            try:
                self.start()
            except AssertionError:  # "pre-existing shared memory block is still in use"
                time.sleep(0.1)
            else:
                return
        raise AssertionError((self.directory / "log").read_text())

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def new_database(self, template: str = TEMPLATE) -> str:
        """Its URL."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        name = url.partition("?")[0].rpartition("/")[2]
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments], capture_output=True, text=True, check=False, **self._as_account()
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _as_account(self) -> dict[str, Any]:
        where: dict[str, Any] = {"cwd": self.directory, "env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}}
        if os.geteuid() != 0:
            return where
        account = pwd.getpwnam("nobody")
        return where | {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def running(programs: Path, settings: tuple[str, ...] = SETTINGS) -> Iterator[PostgreSQL]:
    # Not in pytest's folder: nobody but root enters that of root, and the address of a socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="sshaft-pg-", dir="/tmp") as path:
        if os.geteuid() == 0:
            account = pwd.getpwnam("nobody")
            os.chown(path, account.pw_uid, account.pw_gid)
        Path(path).chmod(0o755)  # other accounts reach the socket; the data has a folder of its own
        server = PostgreSQL(Path(path), programs, settings)
        server.init()
        server.start()
        try:
            yield server
        finally:
            server.stop()
