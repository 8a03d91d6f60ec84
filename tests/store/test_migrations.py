"""Migrations carry the rows of an older version over."""

import json
from pathlib import Path

import pytest
from alembic import command
from click.testing import CliRunner, Result
from sqlalchemy import text

from sshaft_identity.audit import chain
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.commands.identity import identity
from sshaft_identity.common.errors import DatabaseError
from sshaft_identity.database import database
from sshaft_identity.people.activity import Activity
from sshaft_identity.store import Store

VERSIONS = Path(database.__file__).parent / "migrations" / "versions"
NEWEST = max(file.name[1:5] for file in VERSIONS.glob("v0*.py"))
KEYS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}
FACES = {
    "openid": {"redirect_uris": ["https://app.example.org/cb"]},
    "private_key_jwt": {"jwks": KEYS},
    "subject": {"type": "pairwise", "sector": "app.example.org"},
}


@pytest.fixture(params=["sqlite", "postgresql"])
def without_tables(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that has no tables yet, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'identity.db'}"
    return str(request.getfixturevalue("empty_url"))


def test_keys_and_sector_of_a_client_move_out_of_its_faces(without_tables: str) -> None:
    with Store(without_tables, Codes(b"k" * 32)) as store:
        with store.database.write() as connection:
            command.upgrade(database._alembic(connection), "0001")  # noqa: SLF001
            for name, faces in (("shop", FACES), ("agent", {})):
                connection.execute(
                    text(
                        "INSERT INTO clients (client_id, secret_hash, allows_unbound, return_urls, networks, faces,"
                        " scope, created_at) VALUES (:name, '', false, '', '', :faces, '', 0)"
                    ),
                    {"name": name, "faces": json.dumps(faces)},
                )
        store.database.migrate()
        shop, agent = store.clients.get("shop"), store.clients.get("agent")
        assert shop
        assert agent
        assert (shop.faces, shop.jwks, shop.pairwise_sector) == ({"openid": FACES["openid"]}, KEYS, "app.example.org")
        assert (agent.faces, agent.jwks, agent.pairwise_sector) == ({}, None, None)
        with store.database.write() as connection:
            command.downgrade(database._alembic(connection), "0001")  # noqa: SLF001
            (kept,) = connection.execute(text("SELECT faces FROM clients WHERE client_id = 'shop'")).one()
        assert json.loads(kept) == FACES
        store.database.migrate()
        store.database.check()


def test_users_get_an_id_and_keep_their_sub(without_tables: str) -> None:
    """Findings S15, and case user_name_forms: rows from before the ids stay usable, also two that differ in case."""
    with Store(without_tables, Codes(b"k" * 32)) as store:
        with store.database.write() as connection:
            command.upgrade(database._alembic(connection), "0002")  # noqa: SLF001
            for created, name in enumerate(("alice", "Alice", "bob")):
                connection.execute(
                    text("INSERT INTO users (name, created_at) VALUES (:name, :at)"), {"name": name, "at": created}
                )
            for at, event, name in ((0, "user.added", "alice"), (0, "user.removed", "bob"), (2, "user.added", "bob")):
                connection.execute(
                    text("INSERT INTO audit_events (at, event, user_name, facts) VALUES (:at, :event, :name, '{}')"),
                    {"at": at, "event": event, "name": name},
                )
        store.database.migrate()
        assert (store.users.id_of("alice"), store.users.id_of("Alice")) == ("alice", "Alice")
        assert len(store.users.id_of("bob") or "") == 32, "the name was given out anew"
        assert store.users.similar("ALICE") == "alice"
        assert len(Activity(store.database).of("bob").happenings) == 1
        chain.seal_all(store.database)
        assert [head.seq for head in chain.verify(store.database)] == [3]
        store.database.check()
        with store.database.write() as connection:
            command.downgrade(database._alembic(connection), "0002")  # noqa: SLF001
        store.database.migrate()
        assert [head.seq for head in chain.verify(store.database)] == [3]


def at_revision(url: str, directory: Path, revision: str) -> None:
    """Sets a directory up whose database is older than this version."""
    arguments = ["--directory", str(directory), "init", "--listen", "127.0.0.1:0"]
    if url.startswith("postgresql"):
        arguments += ["--database", url]
    assert CliRunner().invoke(identity, arguments).exit_code == 0
    with Store(url, Codes(b"k" * 32)) as store, store.database.write() as connection:
        command.downgrade(database._alembic(connection), revision)  # noqa: SLF001


def run_init(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(identity, ["--directory", str(directory), "init", *options])


def revision_of(url: str) -> str | None:
    with Store(url, Codes(b"k" * 32)) as store:
        return store.database.revisions()[0]


def test_dry_run_tells_what_init_would_do_and_changes_nothing(without_tables: str, tmp_path: Path) -> None:
    at_revision(without_tables, tmp_path, "0003")
    files = sorted(path.name for path in tmp_path.iterdir())
    tried = run_init(tmp_path, "--dry-run")
    assert tried.output == f"The database would be migrated from revision 0003 to {NEWEST}.\n"
    assert revision_of(without_tables) == "0003"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[-4:] not in {"-wal", "-shm"}) == files
    assert run_init(tmp_path).exit_code == 0
    assert run_init(tmp_path, "--dry-run").output == f"The database is up to date: it is at revision {NEWEST}.\n"


def test_dry_run_fails_where_the_service_could_not_start(without_tables: str, tmp_path: Path) -> None:
    at_revision(without_tables, tmp_path, "0003")
    with Store(without_tables, Codes(b"k" * 32)) as store, store.database.write() as connection:
        connection.execute(text("CREATE TABLE ix_challenges_hint (id INTEGER)"))  # the migration needs the name
    tried = run_init(tmp_path, "--dry-run")
    assert tried.exit_code != 0
    assert "ix_challenges_hint" in str(tried.exception)
    assert revision_of(without_tables) == "0003"
    assert not list(tmp_path.glob(".dry-run-*"))


def test_dry_run_needs_keys_that_this_hmac_key_decrypts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'identity.db'}"
    at_revision(url, tmp_path, "0003")
    (tmp_path / "hmac.key").write_bytes(b"another key of thirty-two bytes.")
    tried = run_init(tmp_path, "--dry-run")
    assert tried.exit_code != 0


def test_init_keeps_sqlite_as_it_was_before_the_migration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'identity.db'}"
    at_revision(url, tmp_path, "0003")
    done = run_init(tmp_path)
    kept = tmp_path / "identity.db.0003"
    assert f"{kept} is the database from before the migration." in done.output
    assert kept.stat().st_mode & 0o777 == 0o600
    assert (revision_of(url), revision_of(f"sqlite:///{kept}")) == (NEWEST, "0003")
    kept.unlink()
    assert run_init(tmp_path).exit_code == 0
    assert not kept.exists()


def test_database_of_a_newer_version_is_refused(without_tables: str, tmp_path: Path) -> None:
    at_revision(without_tables, tmp_path, "0004")
    with Store(without_tables, Codes(b"k" * 32)) as store, store.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for options in (["--dry-run"], []):
        done = run_init(tmp_path, *options)
        assert isinstance(done.exception, DatabaseError), done.output
        assert "9999" in str(done.exception)
    assert revision_of(without_tables) == "9999"
