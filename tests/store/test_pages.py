"""Tests lists of many pages: each row comes once, in order, and memory does not grow with their number."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from service.service import START
from sqlalchemy import insert

from sshaft_identity.database.pages import PAGE
from sshaft_identity.database.tables import challenges, ssh_keys, users
from sshaft_identity.store import Store

COUNT = 2 * PAGE + 7


def fill(store: Store) -> None:
    """Makes users, keys and challenges. Many begin at the same time."""
    names = [f"user{number:06}" for number in range(COUNT)]
    with store.database.write() as connection:
        connection.execute(insert(users), [{"name": name, "id": name, "created_at": START} for name in names])
        keys = [
            {"fingerprint": f"SHA256:{name}", "user_name": "user000001", "type": "ssh-ed25519", "blob": b"",
             "name": name, "source": "test", "created_at": START + timedelta(seconds=number // 3)}
            for number, name in enumerate(names)
        ]  # fmt: skip
        connection.execute(insert(ssh_keys), keys)
        begun = [
            {"id": name, "user_name": name, "binding": "code_in", "verify_required": False, "state": "expired",
             "tries": 0, "code_hmac": "", "page_hash": name, "verified": False, "expires_at": START,
             "created_at": START + timedelta(seconds=number // 3)}
            for number, name in enumerate(names)
        ]  # fmt: skip
        connection.execute(insert(challenges), begun)


def test_every_row_of_a_long_list_comes_once_and_in_order(store: Store) -> None:
    fill(store)
    names = [f"user{number:06}" for number in range(COUNT)]
    assert [each.name for each in store.keys.each()] == names
    assert [each.name for each in store.keys.each("user000001")] == names
    assert [each.name for each in store.keys.each("user000002")] == []
    assert [each.id for each in store.challenges.each_recent()] == names[::-1]


def test_no_transaction_is_open_while_a_reader_waits(on_sqlite: Store) -> None:
    """A list in a pager must not keep the database from cleaning up."""
    fill(on_sqlite)
    reading = on_sqlite.challenges.each_recent()
    next(reading)
    with on_sqlite.database.read() as connection:
        busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    assert busy == 0
    assert len(list(reading)) == COUNT - 1


MANY = 100_000
PEAK = """
import re, sys
from sshaft.__main__ import main
status = main(sys.argv[1:])
print(re.search("VmHWM:[^0-9]+([0-9]+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
sys.exit(status)
"""


def peak(directory: Path, *words: str) -> tuple[int, int]:
    """Returns the lines that a command writes, and the most memory in KiB that its process has held."""
    command = [sys.executable, "-c", PEAK, "identity", "--directory", str(directory), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.count("\n"), int(done.stderr.split()[-1])


@pytest.mark.slow
def test_memory_of_a_list_does_not_grow_with_its_rows(tmp_path: Path) -> None:
    peak(tmp_path, "init")
    lists = [("key", "list"), ("challenge", "list", "--json")]
    few = [peak(tmp_path, *words)[1] for words in lists]
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) INSERT INTO"
    with closing(sqlite3.connect(tmp_path / "identity.db")) as database, database:
        database.execute(f"{numbers} users (name, id, created_at) SELECT 'user' || i, 'user' || i, 0 FROM n")
        database.execute(
            f"{numbers} ssh_keys (fingerprint, user_name, type, blob, name, source, created_at)"
            " SELECT 'SHA256:' || i, 'user' || i, 'ssh-ed25519', x'', 'laptop', 'test', i FROM n"
        )
        database.execute(
            f"{numbers} challenges (id, user_name, binding, verify_required, state, tries, code_hmac, page_hash,"
            " created_at, expires_at, verified) SELECT 'c' || i, 'user' || i, 'code_in', 0, 'expired', 0, '', 'c' || i,"
            " i, i, 0 FROM n"
        )
    for words, before in zip(lists, few, strict=True):
        lines, most = peak(tmp_path, *words)
        assert lines >= MANY
        assert most - before < 12 * 1024, f"{words}: {before} KiB without rows, {most} KiB with {MANY}"
