"""Migrations carry the rows of an older version over."""

import json
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from sshaft_identity.challenges.codes import Codes
from sshaft_identity.database import database
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
