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
    if op.get_bind().dialect.name == "postgresql":  # SQLite compares bytes, so its unique index serves
        op.create_index("ix_users_beginning", "users", [sa.text('folded_name COLLATE "C"')])


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_users_beginning", "users")
    for name, _ in _COLUMNS:
        op.drop_column("sessions", name)
