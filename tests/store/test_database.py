"""Tests the tables, their migrations and indexes, and transactions."""

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fakes.public_keys import ed25519
from service.service import Clock, migrated
from sqlalchemy import event, text

from sshaft.errors import ConfigurationError
from sshaft.public_key import parse
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.clients.clients import Scope
from sshaft_identity.common.errors import DatabaseError, RegistryError
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import metadata
from sshaft_identity.store import Store


def test_the_migrations_make_the_tables_that_the_code_uses(store: Store) -> None:
    with store.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_again_changes_nothing(store: Store) -> None:
    store.users.add("alice", Clock()())
    store.database.migrate()
    store.database.check()
    assert store.users.all() == ["alice"]


def test_an_empty_database_is_not_up_to_date(tmp_path: Path) -> None:
    with (
        Store(f"sqlite:///{tmp_path / 'x.db'}", Codes(b"k" * 32)) as store,
        pytest.raises(ConfigurationError, match="init"),
    ):
        store.database.check()


def test_a_database_of_a_later_version_is_refused(store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="9999"):
        store.database.check()


def test_a_file_that_cannot_be_opened_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="No such file or directory"):
        Database(f"sqlite:///{tmp_path / 'no' / 'identity.db'}")


def test_sqlite_is_set_up_for_several_processes(on_sqlite: Store) -> None:
    with on_sqlite.database.read() as connection:
        values = [
            connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "busy_timeout", "foreign_keys")
        ]
    assert values == ["wal", 5000, 1]


def test_a_writer_waits_for_another_process_and_a_reader_does_not(on_sqlite: Store, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "identity.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    assert on_sqlite.users.all() == []
    on_sqlite.users.add("alice", Clock()())
    timer.join()
    other.close()
    assert on_sqlite.users.all() == ["alice"]


def test_a_failed_transaction_changes_nothing(store: Store) -> None:
    store.users.add("alice", Clock()())
    store.users.add("bob", Clock()())
    store.keys.add("alice", [(parse(ed25519("a")), "")], Clock()())
    with pytest.raises(RegistryError):
        store.keys.add("bob", [(parse(ed25519("b")), ""), (parse(ed25519("a")), "")], Clock()())
    assert store.keys.all("bob") == []


def test_no_query_of_the_login_path_scans_a_table(on_sqlite: Store, clock: Clock) -> None:
    statements: list[tuple[str, object]] = []

    @event.listens_for(on_sqlite.database.engine, "before_cursor_execute")
    def note(*arguments: object) -> None:
        statements.append((str(arguments[2]), arguments[3]))

    on_sqlite.users.add("alice", clock())
    on_sqlite.keys.add("alice", [(parse(ed25519("a")), "")], clock())
    on_sqlite.clients.add("web", list(Scope), clock())
    client = on_sqlite.clients.all()[0]
    statements.clear()
    token = on_sqlite.clients.issue_token(client, client.scopes, clock())
    assert token
    on_sqlite.clients.of_token(token, clock())
    use_challenges(on_sqlite, clock)
    event.remove(on_sqlite.database.engine, "before_cursor_execute", note)
    assert len(statements) > 15
    with on_sqlite.database.read() as connection:
        for statement, parameters in statements:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)  # type: ignore[arg-type]
                details = [row.detail for row in plan]
                scanned = [
                    detail for detail in details if detail.startswith(tuple(f"SCAN {t}" for t in metadata.tables))
                ]
                assert not scanned, statement


def use_challenges(store: Store, clock: Clock) -> None:
    opened = store.challenges.open(Wish("alice", timedelta(minutes=5)), clock())
    fingerprint = parse(ed25519("a")).fingerprint
    store.challenges.listed(clock())
    store.challenges.listed(clock(), [fingerprint])
    store.challenges.of_page(opened.page_token)
    store.challenges.accept(Attempt("alice", None, "0", fingerprint, name="x"), clock())
    store.challenges.accept(Attempt("alice", opened.challenge.id, opened.code, fingerprint), clock())
    store.challenges.consume(opened.challenge.id, clock())
    store.challenges.reject(Attempt("alice"), clock())
    store.challenges.cancel(opened.challenge.id, clock())


def test_two_stores_on_one_database_see_the_changes_of_each_other(store: Store, url: str) -> None:
    with migrated(url) as other:
        other.users.add("alice", Clock()())
    assert store.users.all() == ["alice"]
