"""Tests that an account stays with the first identity that has logged in to it."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sshaft.errors import ConfigurationError
from sshaft_agent.host_login.bindings import Binding, Bindings
from sshaft_agent.host_login.database import Database, DatabaseError

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
OP, OTHER_OP = "https://op.example", "https://other.example"


def test_account_belongs_to_the_first_identity(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    assert bindings.bind("alice", OP, "1", NOW)
    assert bindings.bind("bob", OP, "2", NOW)
    for issuer, subject in ((OP, "2"), (OTHER_OP, "1"), (OP, ""), (OP, "1 ")):
        assert not bindings.bind("alice", issuer, subject, NOW)
    assert bindings.bind("alice", OP, "1", NOW)
    assert Bindings(tmp_path).all() == [
        Binding("alice", "", OP, "1", "2030-01-02T03:04:05+00:00"),
        Binding("bob", "", OP, "2", "2030-01-02T03:04:05+00:00"),
    ]


def test_unbound_account_belongs_to_the_next_identity(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    bindings.bind("alice", OP, "1", NOW)
    bindings.bind("bob", OP, "2", NOW)
    assert [each.subject for each in bindings.of("alice")] == ["1"]
    assert bindings.unbind("alice")
    assert bindings.of("alice") == []
    assert not bindings.unbind("alice")
    assert bindings.bind("alice", OP, "3", NOW)
    assert not bindings.bind("bob", OP, "3", NOW)


def test_people_of_one_account_have_a_binding_each(tmp_path: Path) -> None:
    """A map may give one account to several people. A name of the map still belongs to its first identity."""
    bindings = Bindings(tmp_path)
    assert bindings.bind("deploy", OP, "1", NOW, "alice")
    assert bindings.bind("deploy", OP, "2", NOW, "bob")
    assert not bindings.bind("deploy", OP, "3", NOW, "alice")
    assert not bindings.bind("deploy", OP, "3", NOW)
    assert bindings.bind("deploy", OP, "2", NOW, "robert")
    assert [(each.person, each.subject) for each in bindings.of("deploy")] == [("alice", "1"), ("bob", "2")]
    assert bindings.unbind("deploy")
    assert bindings.of("deploy") == []


def test_account_of_one_identity_is_not_opened_by_the_map(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    bindings.bind("alice", OP, "1", NOW)
    assert not bindings.bind("alice", OP, "2", NOW, "bob")
    assert bindings.bind("alice", OP, "1", NOW, "bob")


def test_one_of_many_first_identities_wins(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda subject: bindings.bind("alice", OP, str(subject), NOW), range(16)))
    assert won.count(True) == 1
    assert [each.subject for each in bindings.all()] == [str(won.index(True))]


def test_binding_survives_a_killed_process(tmp_path: Path) -> None:
    program = (
        "import os, sys; from datetime import datetime, UTC; from pathlib import Path;"
        "from sshaft_agent.host_login.bindings import Bindings;"
        "Bindings(Path(sys.argv[1])).bind('alice', 'https://op.example', '1', datetime.now(UTC));"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], timeout=30, check=False)
    assert done.returncode == -9
    assert not Bindings(tmp_path).bind("alice", OP, "2", NOW)


def test_file_is_for_the_agent_alone(tmp_path: Path) -> None:
    assert Bindings(tmp_path).path.stat().st_mode & 0o777 == 0o600


def test_broken_database_lets_nobody_be_bound(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    bindings.path.write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseError, match="host-login"):
        bindings.bind("alice", OP, "1", NOW)
    with pytest.raises(ConfigurationError, match="host-login"):
        Bindings(tmp_path)
    with pytest.raises(ConfigurationError, match="No such file"):
        Bindings(tmp_path / "missing")


def test_database_that_is_in_use_is_no_success(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path, busy_seconds=0.05)
    with sqlite3.connect(bindings.path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseError, match="locked"):
            bindings.bind("alice", OP, "1", NOW)
    other.close()


def test_file_that_an_operator_replaces_counts_at_once(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    bindings.bind("alice", OP, "subject-1", NOW)
    (tmp_path / "other").mkdir()
    other = Bindings(tmp_path / "other")
    other.bind("alice", OP, "subject-2", NOW)
    other.path.replace(bindings.path)
    assert [each.subject for each in bindings.of("alice")] == ["subject-2"]


def test_file_that_is_gone_opens_nothing(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    bindings.bind("alice", OP, "subject-1", NOW)
    bindings.path.unlink()
    with pytest.raises(DatabaseError):
        bindings.of("alice")


def test_body_that_fails_changes_nothing_and_ends_its_transaction(tmp_path: Path) -> None:
    database = Database(tmp_path, "CREATE TABLE IF NOT EXISTS numbers (number INTEGER)", 3.0)

    def fail() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO numbers VALUES (1)")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
