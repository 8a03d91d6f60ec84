"""Tests the move from SQLite to PostgreSQL, as docs/identity-service.md describes it."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from service.service import Clock, migrated
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select, text
from store.serving import command, serving, set_up
from store.test_backup import content, fill, quietly

from sshaft_identity.common.errors import CopyError
from sshaft_identity.database import copying
from sshaft_identity.database.tables import metadata, users
from sshaft_identity.store import Store


def test_the_commands_move_sqlite_to_postgresql(tmp_path: Path, empty_url: str) -> None:
    directory = tmp_path / "id"
    secret = set_up(directory, f"sqlite:///{directory / 'identity.db'}")
    with serving(directory, secret) as service:
        token = service.token()
        opened = service.open(token)
    told = command(directory, "copy", "--to", empty_url)
    rows = dict(zip(told.split()[::2], told.split()[1::2], strict=True))
    assert set(rows) == set(metadata.tables)
    expected = {"challenges": "1", "clients": "1", "users": "1", "access_tokens": "1", "ssh_keys": "0"}
    assert rows.items() >= expected.items()
    command(directory, "init", "--database", empty_url)
    with serving(directory, secret) as service:
        assert json.loads((directory / "identity.json").read_text())["database"] == empty_url
        assert service.accept(opened, token).status_code == 200  # a login that was under way goes on
    with sqlite3.connect(directory / "identity.db") as left:
        assert left.execute("SELECT state FROM challenges").fetchall() == [("pending",)]
    left.close()


@pytest.mark.parametrize("target_kind", ["sqlite", "postgresql"])
def test_all_rows_are_copied_unchanged(
    store: Store, clock: Clock, tmp_path: Path, target_kind: str, request: pytest.FixtureRequest
) -> None:
    fill(store, clock)
    (tmp_path / "target").mkdir()
    url = f"sqlite:///{tmp_path / 'target' / 'identity.db'}"
    target = migrated(url) if target_kind == "sqlite" else request.getfixturevalue("on_postgresql")
    with target:
        copied = copying.copy(store.database, target.database, quietly)
        assert content(target.database) == content(store.database)
        assert copied["users"] == copying.BATCH + 3


def test_a_target_with_rows_is_not_changed(store: Store, clock: Clock, tmp_path: Path) -> None:
    fill(store, clock)
    with migrated(f"sqlite:///{tmp_path / 'target.db'}") as target:
        target.users.add("zoe", clock())
        with pytest.raises(CopyError, match=r"not empty: it has rows in .*users"):
            copying.copy(store.database, target.database, quietly)
        assert target.users.all() == ["zoe"]


def test_a_missing_source_is_reported_and_not_created(tmp_path: Path) -> None:
    source, target = (f"sqlite:///{tmp_path / name}.db" for name in ("nosuch", "target"))
    line = [sys.executable, "-m", "sshaft", "identity", "copy", "--from", source, "--to", target]
    ended = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (65, f"sshaft: there is no {tmp_path / 'nosuch.db'}\n")
    assert list(tmp_path.iterdir()) == []


def test_other_writers_wait_while_a_database_is_filled(on_postgresql: Store) -> None:
    with on_postgresql.database.write(alone="migration") as connection:
        copying.require_empty(connection)
        assert on_postgresql.users.all() == []  # reading goes on
        with on_postgresql.database.write() as other:
            other.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(Exception, match="lock timeout"):
                other.execute(text("DELETE FROM users"))


def test_postgresql_sequences_continue_after_the_copied_ids(on_postgresql: Store) -> None:
    table = Table("numbered", MetaData(), Column("id", Integer, primary_key=True), Column("what", Text))
    with on_postgresql.database.write() as connection:
        table.create(connection)
        copying.add_rows(connection, table, [{"id": 7, "what": "old"}])
        copying._set_sequence(connection, table)  # noqa: SLF001 - no table has such a number yet
        connection.execute(insert(table).values(what="new"))
        assert list(connection.scalars(select(table.c.id).order_by(table.c.id))) == [7, 8]


def test_the_error_for_an_invalid_url_does_not_repeat_it(tmp_path: Path) -> None:
    directory = tmp_path / "id"
    command(directory, "init")
    for url in ("mysql://me:hunter2@db/x", "postgresql+psycopg2://me:hunter2@db/x", "hunter2"):
        line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), "copy", "--to", url]
        ended = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stdout) == (78, "")
        assert len(ended.stderr.splitlines()) == 1
        assert "postgresql://USER@HOST/NAME" in ended.stderr
        assert "hunter2" not in ended.stderr


def test_rows_are_read_in_batches(store: Store, clock: Clock) -> None:
    fill(store, clock)
    with store.database.snapshot() as connection:
        sizes = [len(rows) for rows in copying.rows_of(connection, users)]
    assert sizes == [copying.BATCH, 3]
