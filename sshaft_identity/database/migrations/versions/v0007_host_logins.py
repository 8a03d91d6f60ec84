"""Stores what hosts report: open sessions, remembered approvals, and what must end there."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "host_reports",
        sa.Column("client_id", sa.String(64), sa.ForeignKey("clients.client_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("reported_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_host_reports_reported_at", "host_reports", ["reported_at"])
    op.create_table(
        "host_logins",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("approval", sa.String(64)),
        sa.Column("approved_with", sa.String(64)),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger()),
        sa.Column("used_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["client_id", "host"], ["host_reports.client_id", "host_reports.host"], ondelete="CASCADE"
        ),
    )
    op.create_index("uq_host_logins_entry", "host_logins", ["client_id", "host", "kind", "entry"], unique=True)
    op.create_index("ix_host_logins_user_id", "host_logins", ["user_id"])
    op.create_table(
        "host_revocations",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("kind", sa.String(16)),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_host_revocations_user_id", "host_revocations", ["user_id"])
    op.create_index("ix_host_revocations_at", "host_revocations", ["at"])


def downgrade() -> None:
    for table in ("host_revocations", "host_logins", "host_reports"):
        op.drop_table(table)
