"""Adds approvals of SSH logins at hosts, and lets a session keep how its person signed in."""

import sqlalchemy as sa
from alembic import op

from sshaft_identity.database.migrations.versions.v0001_first_tables import ON_UPDATE

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_OF_SESSIONS = ("amr", "acr")


def upgrade() -> None:
    for name in _OF_SESSIONS:
        op.add_column("sessions", sa.Column(name, sa.Text()))
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("user_name", sa.String(64), nullable=False),
        sa.Column("subject_id", sa.Text()),
        sa.Column("client_ip", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key_fingerprint", sa.String(64)),
        sa.Column("remember_seconds", sa.Integer()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("page_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("approved_at", sa.BigInteger()),
        sa.Column("approver_name", sa.String(64)),
        sa.Column("approver_id", sa.String(64)),
        sa.Column("browser_ip", sa.Text()),
        sa.Column("authenticated_at", sa.BigInteger()),
        sa.Column("amr", sa.Text()),
        sa.Column("acr", sa.Text()),
        sa.Column("session_key", sa.String(64)),
        sa.Column("verified_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("page_hash"),
    )
    op.create_index("ix_approvals_created_at", "approvals", ["created_at"])
    op.create_index("ix_approvals_client_id_created_at", "approvals", ["client_id", "created_at"])
    op.create_index("ix_approvals_state_expires_at", "approvals", ["state", "expires_at"])
    op.create_index("ix_approvals_user_name_created_at", "approvals", ["user_name", "created_at"])
    op.create_index("ix_approvals_approver_name_created_at", "approvals", ["approver_name", "created_at"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(ON_UPDATE.format(table="approvals"))


def downgrade() -> None:
    op.drop_table("approvals")
    for name in _OF_SESSIONS:
        op.drop_column("sessions", name)
