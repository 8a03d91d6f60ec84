"""Tests `audit verify`, `audit export` and the format of docs/audit.md."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from service.service import START, Service
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from sshaft import exit_status
from sshaft_identity.audit import chain
from sshaft_identity.audit.log import record_event
from sshaft_identity.commands.identity import identity
from sshaft_identity.common.errors import AuditError
from sshaft_identity.database.database import Database
from sshaft_identity.service import background

pytestmark = pytest.mark.slow

Run = Callable[..., Result]
FOREIGN = "Wíki\x1b[2J\u202e\x7f\n\"'\\"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *arguments])

    assert run("init").exit_code == 0
    return run


@pytest.fixture
def database(run: Run, tmp_path: Path) -> Iterator[Database]:
    """Writes five sealed events, a day apart, and one unsealed event. `init` itself writes none."""
    del run
    database = Database(f"sqlite:///{tmp_path / 'id' / 'identity.db'}")
    for day in range(5):
        note(database, "challenge.opened", START + timedelta(days=day), user="alice" if day % 2 else "bob", app=FOREIGN)
    chain.seal_all(database)
    note(database, "challenge.accepted", START + timedelta(days=5), user="alice", fingerprint=None, tries=3)
    yield database
    database.close()


def note(database: Database, event: str, at: datetime, **facts: Any) -> None:
    with database.write() as connection:
        record_event(connection, event, at, **facts)


def of_chain(output: str) -> list[dict[str, Any]]:
    """Returns the exported events, without those of the set-up."""
    return [line for line in map(json.loads, output.splitlines()) if line["event"].startswith("challenge.")]


def test_verify_counts_and_prints_the_head_that_verify_takes(run: Run, database: Database) -> None:
    first = run("audit", "verify")
    assert first.exit_code == 0
    with database.read() as connection:
        head = chain.head_of(connection)
    assert first.stdout == f"{head.seq} events sealed, 1 not sealed yet\nhead {head}\n"
    assert run("audit", "verify", "--head", str(head)).exit_code == 0
    assert run("audit", "verify", "--head", "3").exit_code == 2


def test_verify_accepts_an_empty_log(run: Run, tmp_path: Path) -> None:
    empty = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    empty.migrate()
    assert [str(head) for head in chain.verify(empty)] == ["0:" + "0" * 64]
    empty.close()
    assert run("audit", "verify").exit_code == 0


def test_verify_names_the_broken_event_in_one_line_and_ends_with_status_65(run: Run, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DROP TRIGGER audit_events_no_update"))
        connection.execute(text("UPDATE audit_events SET user_name = 'mallory' WHERE event = 'challenge.opened'"))
    ended = run("audit", "verify")
    assert isinstance(ended.exception, AuditError)
    assert ended.exception.exit_status == exit_status.DATA
    assert "the audit log is broken: event " in str(ended.exception)


def test_export_writes_one_line_per_event_without_control_characters(run: Run, database: Database) -> None:
    del database
    output = run("audit", "export").stdout
    assert all(" " <= character <= "~" for character in output.replace("\n", ""))
    lines = of_chain(output)
    assert [line["event"] for line in lines] == ["challenge.opened"] * 5 + ["challenge.accepted"]
    assert list(lines[0]) == ["at", "event", "facts", "hash", "seq", "user"]
    assert (lines[0]["at"], lines[0]["facts"]) == ("2026-11-22T12:00:00.000000Z", {"app": FOREIGN})
    assert (lines[-1]["seq"], lines[-1]["hash"], lines[-1]["facts"]) == (None, None, {"tries": 3})


def of_the_manual() -> str:
    """Returns the commands of docs/audit.md that check an export."""
    manual = (Path(__file__).resolve().parents[4] / "docs" / "audit.md").read_text()
    found = re.search(r"^    (sshaft identity audit export \| python3 -c '\n.*?')$", manual, re.MULTILINE | re.DOTALL)
    assert found
    return found[1].replace("\n    ", "\n")


@pytest.mark.parametrize("changed", [None, 1, 3, 5])
def test_the_commands_of_the_manual_check_the_chain(database: Database, tmp_path: Path, changed: int | None) -> None:
    if changed is not None:
        with database.write() as connection:
            connection.execute(text("DROP TRIGGER audit_events_no_update"))
            connection.execute(text("UPDATE audit_events SET user_name = 'mallory' WHERE seq = :seq"), {"seq": changed})
    programs = Path(sys.executable).parent
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "SSHAFT_IDENTITY_DIRECTORY": str(tmp_path / "id")}
    command = of_the_manual().replace("sshaft", f"{sys.executable} -m sshaft", 1)
    ended = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == ((0, "") if changed is None else (1, f"broken at {changed}\n"))


@pytest.mark.parametrize(
    ("options", "days"),
    [
        (("--since", "2026-11-24T12:00:00Z"), [2, 3, 4, 5]),
        (("--since", "2026-11-24T13:00:00+01:00"), [2, 3, 4, 5]),
        (("--since", "2026-11-25"), [3, 4, 5]),
        (("--until", "2026-11-24T12:00:00Z"), [0, 1]),
        (("--since", "2026-11-24", "--until", "2026-11-26"), [2, 3]),
        (("--user", "alice"), [1, 3, 5]),
        (("--user", "alice' OR 1=1"), []),
    ],
)
def test_export_selects_events_by_time_and_user(
    run: Run, database: Database, options: tuple[str], days: list[int]
) -> None:
    del database
    lines = of_chain(run("audit", "export", *options).stdout)
    assert [(datetime.fromisoformat(line["at"]) - START).days for line in lines] == days


def test_export_counts_a_duration_back_from_now(run: Run, database: Database) -> None:
    now = datetime.now(UTC)
    note(database, "challenge.expired", now - timedelta(hours=3), user="carol")
    note(database, "challenge.expired", now - timedelta(minutes=30), user="dave")
    lines = of_chain(run("audit", "export", "--since", "1h", "--until", "0").stdout)
    assert [line["user"] for line in lines if line["event"] == "challenge.expired"] == ["dave"]


@pytest.mark.parametrize("time", ["yesterday", "1w", "-1h", "2026-13-01", "", "99999999999d"])
def test_an_invalid_time_is_an_error(run: Run, time: str) -> None:
    assert run("audit", "export", "--since", time).exit_code == 2


def test_export_into_a_pipe_that_closes_early_prints_no_error(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        for number in range(3000):
            record_event(connection, "challenge.opened", START, user="alice", app="x" * 100, number=number)
    command = [sys.executable, "-m", "sshaft", "identity", "--directory", str(tmp_path / "id"), "audit", "export"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == -signal.SIGPIPE


def test_a_fact_with_a_secret_name_is_never_written(run: Run, database: Database) -> None:
    note(database, "x", START, user=None, code="482913", client_secret="hunter2", key_type="ssh-ed25519")
    output = run("audit", "export").stdout
    assert "482913" not in output
    assert "hunter2" not in output
    assert "ssh-ed25519" in output


# --- in the running service


def test_the_service_seals_again_after_the_database_was_away(service: Service) -> None:
    heard: list[str] = []

    class Away:
        """Opens the database, but its first readings fail."""

        left = 3

        def read(self) -> Any:
            self.left -= 1
            if self.left >= 0:
                raise OperationalError("SELECT", {}, Exception("away"))
            return service.store.database.read()

        def write(self) -> Any:
            return service.store.database.write()

        def may_be_alone(self, *arguments: Any) -> bool:
            return service.store.database.may_be_alone(*arguments)

    async def until_sealed() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def hear(sealed: Mapping[str, int]) -> None:
            heard.extend(sealed)
            loop.call_soon_threadsafe(done.set)

        sealing = asyncio.create_task(background.keep_sealing(Away(), hear, every=0.01))  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            await done.wait()
        sealing.cancel()

    note(service.store.database, "challenge.opened", START, user="alice")
    asyncio.run(until_sealed())
    assert "challenge.opened" in heard
    assert [event["reason"] for event in service.events("audit.sealing_failed")] == ["away"]


def test_a_stopping_service_seals_all_events(run: Run, tmp_path: Path) -> None:
    directory = str(tmp_path / "id")
    command = [sys.executable, "-m", "sshaft", "identity", "--directory", directory, "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert json.loads(process.stderr.readline())["event"] == "identity.ready"
        run("client", "add", "web", "--scope", "challenges")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert run("audit", "verify").stdout.startswith("3 events sealed, 0 not sealed yet\n")
