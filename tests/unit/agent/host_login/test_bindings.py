"""Tests that an account stays with the first identity that has logged in to it."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sshaft.errors import ConfigurationError
from sshaft_agent.host_login.bindings import Binding, Bindings, BindingsError

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
        Binding("alice", OP, "1", "2030-01-02T03:04:05+00:00"),
        Binding("bob", OP, "2", "2030-01-02T03:04:05+00:00"),
    ]


def test_unbound_account_belongs_to_the_next_identity(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    bindings.bind("alice", OP, "1", NOW)
    bindings.bind("bob", OP, "2", NOW)
    assert bindings.unbind("alice")
    assert not bindings.unbind("alice")
    assert bindings.bind("alice", OP, "3", NOW)
    assert not bindings.bind("bob", OP, "3", NOW)


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
    with pytest.raises(BindingsError, match="host-login"):
        bindings.bind("alice", OP, "1", NOW)
    with pytest.raises(ConfigurationError, match="host-login"):
        Bindings(tmp_path)
    with pytest.raises(ConfigurationError, match="No such file"):
        Bindings(tmp_path / "missing")


def test_database_that_is_in_use_is_no_success(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path, busy_seconds=0.05)
    with sqlite3.connect(bindings.path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BindingsError, match="locked"):
            bindings.bind("alice", OP, "1", NOW)
    other.close()
