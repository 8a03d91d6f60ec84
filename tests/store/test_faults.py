"""Tests a database that is locked, full or away: the service reports it, loses nothing and recovers by itself."""

import resource
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from service.service import Clock
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool
from store.serving import Serving, command, serving, set_up

from sshaft_identity.database import database
from sshaft_identity.database.database import reason
from sshaft_identity.store import Store


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "id"


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Locks the database, like a program that does not end its transaction."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def assert_unavailable(service: Serving, token: str) -> None:
    answer = service.post("/api/v1/challenges", {"user": "alice"}, token)
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert (answer.json()["error"], answer.headers["Retry-After"]) == ("unavailable", "1")


def test_a_database_locked_for_longer_than_writers_wait_is_503_and_nothing_is_lost(directory: Path) -> None:
    file = directory / "identity.db"
    secret = set_up(directory, f"sqlite:///{file}")
    with serving(directory, secret) as service:
        token = service.token()
        opened = service.open(token)
        with locked(file):
            assert_unavailable(service, token)
            assert service.page_state(opened) == "pending"  # reading goes on
            assert service.health().status_code == 200
        assert service.accept(opened, token).status_code == 200
        assert service.events("database.unavailable")[0]["reason"] == "database is locked"


def test_a_full_disk_is_503_and_the_service_recovers_when_there_is_room(directory: Path) -> None:
    file = directory / "identity.db"
    secret = set_up(directory, f"sqlite:///{file}")
    with serving(directory, secret) as service:
        token = service.token()
        opened = service.open(token)
        pid = service.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        log_size = service.log.stat().st_size
        # No file of the process can grow beyond this, and the database and its log are larger already.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (log_size + 3000, hard))
        assert_unavailable(service, token)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert service.accept(opened, token).status_code == 200
        assert service.open(token)["state"] == "pending"


def test_a_full_database_keeps_its_rows(on_sqlite: Store, clock: Clock) -> None:
    on_sqlite.users.add("alice", clock())
    with on_sqlite.database.write() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))  # of this connection, the only one that writes
    added = ["alice"]

    def add_many() -> None:
        for number in range(10_000):
            on_sqlite.users.add(f"user{number:05}", clock())
            added.append(f"user{number:05}")

    with pytest.raises(OperationalError) as caught:
        add_many()
    assert reason(caught.value) == "database or disk is full"
    assert on_sqlite.users.all() == added
    with on_sqlite.database.write() as connection:
        connection.execute(text("PRAGMA max_page_count = 1000000"))
    on_sqlite.users.add("zoe", clock())
    assert on_sqlite.users.all()[-1] == "zoe"


def test_a_command_on_a_locked_database_ends_with_one_line(directory: Path) -> None:
    command(directory, "init")
    with locked(directory / "identity.db"), pytest.raises(AssertionError) as caught:
        command(directory, "user", "add", "alice")
    assert "sshaft: the database failed: database is locked\n" in str(caught.value)
    command(directory, "user", "add", "alice")


def test_a_lock_held_too_long_on_postgresql_is_reported_and_nothing_is_lost(on_postgresql: Store, clock: Clock) -> None:
    on_postgresql.users.add("alice", clock())
    with on_postgresql.database.write() as connection:
        connection.execute(text("DELETE FROM users"))
        failures: list[str] = []

        def remove() -> None:
            try:
                on_postgresql.revocation.remove_user("alice", clock())
            except database.UNAVAILABLE as error:
                failures.append(reason(error))

        other = threading.Thread(target=remove)
        other.start()
        other.join()
        connection.rollback()
    assert failures == ["canceling statement due to lock timeout"]
    assert on_postgresql.users.all() == ["alice"]


def test_an_exhausted_pool_is_reported_as_unavailable(on_postgresql: Store) -> None:
    pool = on_postgresql.database.engine.pool
    assert isinstance(pool, QueuePool)
    held = [pool.connect() for _ in range(pool.size() - pool.checkedout())]
    try:
        with pytest.raises(database.UNAVAILABLE) as caught:
            on_postgresql.database.ping()
        assert reason(caught.value) == "TimeoutError"  # type: ignore[arg-type]
    finally:
        for each in held:
            each.close()
    on_postgresql.database.ping()
