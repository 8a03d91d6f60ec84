"""The first tables: users and their keys, clients and their access tokens, challenges. `tables` says more."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ssh_keys",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("user_name", sa.String(64), sa.ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("blob", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_ssh_keys_user_name", "ssh_keys", ["user_name"])
    op.create_table(
        "clients",
        sa.Column("client_id", sa.String(64), primary_key=True),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "access_tokens",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("client_id", sa.String(64), sa.ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_access_tokens_client_id", "access_tokens", ["client_id"])
    op.create_index("ix_access_tokens_expires_at", "access_tokens", ["expires_at"])
    op.create_table(
        "challenges",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("user_name", sa.String(64), nullable=False),
        sa.Column("client_id", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("attempt", sa.String(64)),
        sa.Column("code_hmac", sa.String(64), nullable=False),
        sa.Column("page_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("app", sa.Text),
        sa.Column("ip", sa.Text),
        sa.Column("user_agent", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("accepted_at", sa.BigInteger),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("key_type", sa.String(64)),
        sa.Column("client_ip", sa.Text),
    )
    op.create_index("ix_challenges_user_name_state", "challenges", ["user_name", "state"])
    op.create_index("ix_challenges_state_expires_at", "challenges", ["state", "expires_at"])
    op.create_index("ix_challenges_created_at", "challenges", ["created_at"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(TELL_OF_CHALLENGE)
        op.execute(ON_CHALLENGE_UPDATE)


# Processes whose pages wait for a challenge listen, see `sshaft_identity.listener`. A trigger forgets no change, also
# none of the operator's commands. Nobody waits for a challenge that is yet to be made, so INSERT tells nothing:
# PostgreSQL commits transactions that tell something one after the other.
TELL_OF_CHALLENGE = """
CREATE OR REPLACE FUNCTION sshaft_tell_of_challenge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sshaft_challenges', NEW.id);
    RETURN NULL;
END $$
"""
ON_CHALLENGE_UPDATE = """
CREATE TRIGGER sshaft_challenge_changed AFTER UPDATE ON challenges FOR EACH ROW
WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION sshaft_tell_of_challenge()
"""


def downgrade() -> None:
    for table in ("challenges", "access_tokens", "clients", "ssh_keys", "users"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION sshaft_tell_of_challenge()")
