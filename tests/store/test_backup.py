"""Tests backup and restore on both kinds of database, and from one kind to the other."""

import dataclasses
import gzip
import hashlib
import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.public_keys import ed25519, sk_ed25519
from service.service import Clock, migrated
from sqlalchemy import Column, insert, select, text
from store.serving import command, serving, set_up
from store.test_migrations import NEWEST

from sshaft.public_key import parse
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.commands.identity import identity
from sshaft_identity.common.errors import CopyError
from sshaft_identity.database import backup, copying
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import UtcTime, metadata
from sshaft_identity.store import Store

KEY = b"k" * 32
MINUTES = timedelta(minutes=5)


@contextmanager
def quietly(_total: int) -> Iterator[object]:
    yield lambda _rows: None


def fill(store: Store, clock: Clock) -> None:
    """Fills every table with rows, some with difficult values."""
    for name in ("alice", "bob"):
        store.users.add(name, clock())
    store.keys.add(
        "alice", [(parse(ed25519("a")), "al\u00efce \U0001f511 \\x00 'quoted\""), (parse(sk_ed25519("b")), "")], clock()
    )
    store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
    client = store.clients.all()[0]
    store.access_tokens.issue(client, client.scopes, clock())
    clock.advance(0.123456)
    opened = store.challenges.open(Wish("alice", MINUTES, client="web"), clock())
    store.challenges.accept(Attempt("alice", opened.challenge.id, opened.code), clock())
    with store.database.write() as connection:
        rows = [{"name": f"u{number}", "created_at": clock()} for number in range(copying.BATCH + 1)]
        connection.execute(insert(metadata.tables["users"]), rows)
        for table in metadata.sorted_tables:
            if connection.execute(select(table).limit(1)).first() is None:
                connection.execute(insert(table).values({each.name: some(each, clock) for each in table.columns}))


def some(column: Column[Any], clock: Clock) -> object:
    """Returns any value that fits the column."""
    if column.foreign_keys:
        return {"client_id": "web", "host": "some text"}.get(column.name, "alice")
    if isinstance(column.type, UtcTime):
        return clock()
    return {bool: True, int: 7, bytes: b"\x00\xff", str: "some text"}[column.type.python_type]


def content(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


@pytest.fixture
def file(store: Store, clock: Clock, tmp_path: Path) -> Path:
    """Returns a backup of a filled database."""
    fill(store, clock)
    path = tmp_path / "backup.gz"
    backup.write(store.database, path, KEY, clock(), quietly)
    return path


def restore(database: Database, path: Path, *, replace: bool = False) -> None:
    backup.restore(database, backup.verified(path), quietly, replace=replace)


def test_the_filled_database_has_rows_in_every_table(store: Store, clock: Clock) -> None:
    fill(store, clock)
    assert all(content(store.database).values())


def test_a_backup_fills_a_database_of_either_kind(
    store: Store, file: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    before = content(store.database)
    (tmp_path / "other").mkdir()
    with migrated(f"sqlite:///{tmp_path / 'other' / 'identity.db'}") as on_sqlite:
        restore(on_sqlite.database, file)
        assert content(on_sqlite.database) == before
    on_postgresql = request.getfixturevalue("on_postgresql")
    restore(on_postgresql.database, file)
    assert content(on_postgresql.database) == before


def test_a_backup_is_readable_only_by_its_owner_and_leaves_no_other_file(file: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not (tmp_path / "backup.gz.new").exists()


def test_a_backup_holds_one_state_while_other_transactions_write(store: Store, clock: Clock) -> None:
    store.users.add("alice", clock())
    with store.database.snapshot() as connection:
        before = copying.counts(connection)
        store.users.add("bob", clock())
        assert copying.counts(connection) == before
    assert store.users.all() == ["alice", "bob"]


def test_a_database_with_rows_is_replaced_only_with_the_option(store: Store, file: Path, clock: Clock) -> None:
    before = content(store.database)
    store.revocation.remove_user("alice", clock())
    after = content(store.database)
    with pytest.raises(CopyError, match="not empty: it has rows in "):
        restore(store.database, file)
    assert content(store.database) == after
    restore(store.database, file, replace=True)
    assert content(store.database) == before
    store.database.check()


def test_a_truncated_file_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in {0, 1, 9, 10, 11, 100, *range(12, len(whole), 997), len(whole) - 9, len(whole) - 1}:
        file.write_bytes(whole[:length])
        with pytest.raises(CopyError, match="backup"):
            backup.verified(file)


def test_a_file_without_its_last_lines_is_refused(file: Path) -> None:
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    for kept in (1, 2, len(lines) - 1):
        file.write_bytes(gzip.compress(b"".join(lines[:kept])))
        with pytest.raises(CopyError, match="cut off or was altered"):
            backup.verified(file)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"alice"', b'"malice"'), (b'"web"', b'"wed"'), (NEWEST.encode(), b"9999"), (b'"users":', b'"userz":')],
)
def test_an_altered_file_is_refused(file: Path, old: bytes, new: bytes) -> None:
    lines = gzip.decompress(file.read_bytes())
    assert old in lines
    file.write_bytes(gzip.compress(lines.replace(old, new, 1)))
    with pytest.raises(CopyError, match="cut off or was altered"):
        backup.verified(file)


def signed(lines: bytes) -> bytes:
    return gzip.compress(lines + b'{"sha256":"' + hashlib.sha256(lines).hexdigest().encode() + b'"}\n')


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"revision"', b'"division"'),
        (b'{"rows":', b'{"cows":'),
        (b'{"rows":{', b'{"rows":{"losers":"many",'),
        (b'{"table":"users"', b'{"table":"losers"'),
        (b'{"table":"users","columns":["', b'{"table":"users","columns":["un'),
        (b'["alice"', b'[0,"alice"'),
        (b'["alice"', b'["\\ud800"'),
        (b'["alice"', b"[" * 100_000),
        (b'["alice"', b'["\xff"'),
    ],
)
def test_a_forged_file_is_refused_and_changes_nothing(store: Store, file: Path, old: bytes, new: bytes) -> None:
    before = content(store.database)
    lines = gzip.decompress(file.read_bytes()).rpartition(b'{"sha256"')[0]
    assert old in lines
    file.write_bytes(signed(lines.replace(old, new)))
    with pytest.raises(CopyError, match="no backup"):
        restore(store.database, file, replace=True)
    assert content(store.database) == before


@pytest.mark.parametrize("lines", ["", "no json\n", "[]\n{}\n", '{"sshaft_identity_backup": 2}\n'])
def test_a_file_that_is_not_a_backup_is_refused(tmp_path: Path, lines: str) -> None:
    (tmp_path / "file").write_bytes(lines.encode())
    with pytest.raises(CopyError, match="backup"):
        backup.verified(tmp_path / "file")
    (tmp_path / "file").write_bytes(gzip.compress(lines.encode()))
    with pytest.raises(CopyError, match="backup"):
        backup.verified(tmp_path / "file")


def test_a_backup_of_another_revision_is_refused_with_the_version_that_reads_it(store: Store, file: Path) -> None:
    with store.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CopyError, match=f"of revision {NEWEST}, the database of 9999: restore it with sshaft 0"):
        restore(store.database, file, replace=True)


def test_a_restore_that_fails_halfway_changes_nothing(store: Store, file: Path) -> None:
    whole = backup.verified(file)
    before = content(store.database)
    more = dataclasses.replace(whole, rows=whole.rows | {"users": 1})
    with pytest.raises(CopyError, match="nothing was kept"):
        backup.restore(store.database, more, quietly, replace=True)
    assert content(store.database) == before
    store.database.check()


def test_a_restore_also_fills_and_replaces_append_only_tables(store: Store, file: Path) -> None:
    before = content(store.database)
    with store.database.write() as connection:
        if store.database.is_postgresql:
            connection.execute(text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'append only'; END $$"
            ))  # fmt: skip
            connection.execute(text(
                "CREATE TRIGGER keep BEFORE DELETE OR UPDATE ON challenges FOR EACH ROW EXECUTE FUNCTION refuse()"
            ))  # fmt: skip
        else:
            for what in ("DELETE", "UPDATE"):
                refused = "BEGIN SELECT RAISE(ABORT, 'append only'); END"
                connection.execute(text(f"CREATE TRIGGER keep{what} BEFORE {what} ON challenges {refused}"))
    restore(store.database, file, replace=True)
    assert content(store.database) == before


def test_a_file_that_cannot_be_written_is_one_clear_error(store: Store, tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(CopyError, match="cannot be written: No such file or directory"):
        backup.write(store.database, tmp_path / "no" / "file", KEY, clock(), quietly)


def test_the_commands_back_up_and_restore_while_the_service_runs(url: str, tmp_path: Path) -> None:
    secret = set_up(tmp_path / "a", url)
    file = tmp_path / "backup.gz"
    with serving(tmp_path / "a", secret) as service:
        token = service.token()
        opened = service.open(token)
        assert re.search(r"^users +1$", command(tmp_path / "a", "backup", str(file)), re.MULTILINE)
        command(tmp_path / "a", "user", "add", "mallory")
        for _ in range(10):  # so often that the driver has prepared its statements
            service.open(token, "mallory")
        told = command(tmp_path / "a", "restore", "--replace", "--yes", str(file))
        assert re.search(r"^users +1$", told, re.MULTILINE)
        assert "mallory" not in command(tmp_path / "a", "user", "list")
        for _ in range(10):
            assert service.page_state(opened) == "pending"
        assert service.accept(opened, token).status_code == 200
        assert service.events("request.failed") == []


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *arguments], input=stdin)

    assert run("init").exit_code == 0
    return run


def test_backup_replaces_an_older_file_only_with_force(run: Callable[..., Result], tmp_path: Path) -> None:
    """Finding N14: an older backup was replaced without a word."""
    file = tmp_path / "file"
    file.write_text("older")
    refused = run("backup", str(file))
    assert str(refused.exception) == f"{file} exists: --force replaces it"
    assert file.read_text() == "older"
    assert run("backup", "--force", str(file)).exit_code == 0
    assert file.read_bytes().startswith(b"\x1f\x8b")


def test_restore_asks_before_it_replaces_rows(run: Callable[..., Result], tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    run("backup", file)
    run("user", "add", "alice")
    refused = run("restore", "--replace", file, stdin="n\n")
    assert "Drop the 6 rows of the database" in refused.output  # four are of init
    assert refused.exit_code == 1
    assert "alice" in run("user", "list").output
    assert run("restore", "--replace", file, stdin="y\n").exit_code == 0
    assert "alice" not in run("user", "list").output


def test_a_restore_with_another_hmac_key_warns_the_operator(run: Callable[..., Result], tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    run("backup", file)
    assert "hmac.key" not in run("restore", file).output
    (tmp_path / "id" / "hmac.key").write_bytes(b"x" * 32)
    assert "hmac.key is not that of the backup" in run("restore", file).output


def test_progress_goes_to_a_terminal_and_counts_go_to_stdout(run: Callable[..., Result], tmp_path: Path) -> None:
    run("user", "add", "alice")
    line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(tmp_path / "id"), "backup", "file"]
    reader, terminal = pty.openpty()
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=terminal, cwd=tmp_path, check=True, timeout=60)
    os.close(terminal)
    shown = os.read(reader, 10_000)
    os.close(reader)
    assert b"backup" in shown
    assert b"100%" in shown
    assert re.search(rb"^users +1$", done.stdout, re.MULTILINE)


def test_a_backup_holds_neither_secrets_nor_keys_of_the_service(url: str, tmp_path: Path) -> None:
    secret = set_up(tmp_path / "a", url)
    command(tmp_path / "a", "backup", str(tmp_path / "file"))
    lines = gzip.decompress((tmp_path / "file").read_bytes())
    key = (tmp_path / "a" / "hmac.key").read_bytes()
    assert secret.encode() not in lines
    assert key.hex().encode() not in lines
    assert json.loads(lines.splitlines()[0])["key"] == backup.key_name(key)
