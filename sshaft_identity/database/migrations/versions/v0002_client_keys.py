"""Gives the keys and the pairwise sector of a client columns of their own. Before, they stood among its faces."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

clients = sa.table("clients", *(sa.column(name, sa.Text) for name in ("client_id", "faces", "jwks", "pairwise_sector")))


def upgrade() -> None:
    op.add_column("clients", sa.Column("jwks", sa.Text()))
    op.add_column("clients", sa.Column("pairwise_sector", sa.Text()))
    connection = op.get_bind()
    for row in connection.execute(sa.select(clients.c.client_id, clients.c.faces)).all():
        faces = json.loads(row.faces)
        key, subject = faces.pop("private_key_jwt", None), faces.pop("subject", None)
        if key is None and subject is None:
            continue
        is_pairwise = subject is not None and subject.get("type") == "pairwise"
        values = {
            "faces": json.dumps(faces),
            "jwks": key and json.dumps(key["jwks"]),
            "pairwise_sector": subject["sector"] if is_pairwise else None,
        }
        connection.execute(sa.update(clients).where(clients.c.client_id == row.client_id).values(values))


def downgrade() -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(clients)).all():
        faces = json.loads(row.faces)
        faces |= {} if row.jwks is None else {"private_key_jwt": {"jwks": json.loads(row.jwks)}}
        sector = row.pairwise_sector
        faces |= {} if sector is None else {"subject": {"type": "pairwise", "sector": sector}}
        changed = sa.update(clients).where(clients.c.client_id == row.client_id).values(faces=json.dumps(faces))
        connection.execute(changed)
    op.drop_column("clients", "pairwise_sector")
    op.drop_column("clients", "jwks")
