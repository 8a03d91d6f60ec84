"""Lets a session keep the groups of its person and its last SSH login, and finds users by the beginning of a name."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = (("issuer", sa.Text()), ("groups", sa.Text()), ("passed_at", sa.BigInteger()))


def upgrade() -> None:
    for name, kind in _COLUMNS:
        op.add_column("sessions", sa.Column(name, kind))
    op.add_column("sessions", sa.Column("orders", sa.Integer(), nullable=False, server_default="0"))
    _sort("C")


def downgrade() -> None:
    for name in ("orders", *(each for each, _ in _COLUMNS)):
        op.drop_column("sessions", name)
    _sort("default")


def _sort(collation: str) -> None:
    """Changes the order of the names in lower case, and of their index. SQLite always compares bytes."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f'ALTER TABLE users ALTER COLUMN folded_name TYPE VARCHAR(64) COLLATE "{collation}"')
