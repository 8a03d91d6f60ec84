"""Lets several logins of a user and a client wait, and stores the user that a stranger named as a mere hint."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("challenges", sa.Column("hint", sa.String(64)))
    op.drop_index("uq_challenges_pending", "challenges")
    has_code = sa.text("code_index IS NOT NULL")
    op.create_index(
        "ix_challenges_code_index", "challenges", ["code_index"], sqlite_where=has_code, postgresql_where=has_code
    )
    hinted = sa.text("state = 'pending' AND hint IS NOT NULL")
    op.create_index("ix_challenges_hint", "challenges", ["hint"], sqlite_where=hinted, postgresql_where=hinted)


def downgrade() -> None:
    op.drop_index("ix_challenges_hint", "challenges")
    op.drop_index("ix_challenges_code_index", "challenges")
    pending = sa.text("state = 'pending' AND accepted_at IS NULL AND user_name IS NOT NULL")
    # The index that returns allows one pending login for a user and a client.
    op.execute("UPDATE challenges SET state = 'cancelled' WHERE state = 'pending'")
    op.create_index(
        "uq_challenges_pending",
        "challenges",
        ["user_name", "client_id"],
        unique=True,
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.drop_column("challenges", "hint")
