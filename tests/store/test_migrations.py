"""Migrations carry the rows of an older version over."""

import json
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from sshaft_identity.audit import chain
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.database import database
from sshaft_identity.people.activity import Activity
from sshaft_identity.store import Store

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
        assert len(Activity(store.database).of("bob").events) == 1
        chain.seal_all(store.database)
        assert [head.seq for head in chain.verify(store.database)] == [3]
        store.database.check()
        with store.database.write() as connection:
            command.downgrade(database._alembic(connection), "0002")  # noqa: SLF001
        store.database.migrate()
        assert [head.seq for head in chain.verify(store.database)] == [3]
