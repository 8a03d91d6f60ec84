"""Makes the first tables, which `database.tables` describes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# These triggers make the audit log append-only: only the place in the chain may be filled in, once.
# On SQLite, REPLACE deletes without the trigger for deletes, so the trigger for inserts stops it.
APPEND_ONLY = {
    "sqlite": (
        """
        CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
        BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
        """,
        """
        CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
        WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id OR seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
        """,
        """
        CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
        WHEN NOT (
            OLD.seq IS NULL AND OLD.hash IS NULL AND NEW.seq IS NOT NULL AND NEW.hash IS NOT NULL
            AND NEW.id IS OLD.id AND NEW.at IS OLD.at AND NEW.event IS OLD.event
            AND NEW.user_name IS OLD.user_name AND NEW.facts IS OLD.facts
        )
        BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
        """,
    ),
    "postgresql": (
        """
        CREATE OR REPLACE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                IF OLD.seq IS NULL AND OLD.hash IS NULL AND NEW.seq IS NOT NULL AND NEW.hash IS NOT NULL
                    AND (NEW.id, NEW.at, NEW.event, NEW.user_name, NEW.facts)
                        IS NOT DISTINCT FROM (OLD.id, OLD.at, OLD.event, OLD.user_name, OLD.facts)
                THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION 'audit_events is append-only';
        END
        $$
        """,
        """
        CREATE TRIGGER audit_events_rows BEFORE UPDATE OR DELETE ON audit_events
        FOR EACH ROW EXECUTE FUNCTION audit_events_append_only()
        """,
        """
        CREATE TRIGGER audit_events_truncate BEFORE TRUNCATE ON audit_events
        FOR EACH STATEMENT EXECUTE FUNCTION audit_events_append_only()
        """,
    ),
}


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(length=48), nullable=False),
        sa.Column("user_name", sa.String(length=64)),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger()),
        sa.Column("hash", sa.String(length=64)),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("seq"),
    )
    op.create_index("ix_audit_events_at", "audit_events", ["at"])
    op.create_index("ix_audit_events_user_name_at", "audit_events", ["user_name", "at"])
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)
    op.create_table(
        "challenges",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_name", sa.String(length=64)),
        sa.Column("client_id", sa.String(length=64)),
        sa.Column("binding", sa.String(length=16), nullable=False),
        sa.Column("verify_required", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.String(length=64)),
        sa.Column("code_hmac", sa.String(length=64), nullable=False),
        sa.Column("code_index", sa.String(length=64)),
        sa.Column("page_hash", sa.String(length=64), nullable=False),
        sa.Column("app", sa.Text()),
        sa.Column("ip", sa.Text()),
        sa.Column("user_agent", sa.Text()),
        sa.Column("return_url", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("shown_at", sa.BigInteger()),
        sa.Column("presented_at", sa.BigInteger()),
        sa.Column("accepted_at", sa.BigInteger()),
        sa.Column("fingerprint", sa.String(length=64)),
        sa.Column("key_type", sa.String(length=64)),
        sa.Column("client_ip", sa.Text()),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("page_hash"),
    )
    op.create_index("ix_challenges_created_at", "challenges", ["created_at"])
    op.create_index("ix_challenges_user_name_state_expires_at", "challenges", ["user_name", "state", "expires_at"])
    op.create_index(
        "uq_challenges_pending",
        "challenges",
        ["user_name", "client_id"],
        unique=True,
        sqlite_where=sa.text("state = 'pending' AND accepted_at IS NULL AND user_name IS NOT NULL"),
        postgresql_where=sa.text("state = 'pending' AND accepted_at IS NULL AND user_name IS NOT NULL"),
    )
    op.create_index(
        "uq_challenges_code_index",
        "challenges",
        ["code_index"],
        unique=True,
        sqlite_where=sa.text("state = 'pending' AND code_index IS NOT NULL"),
        postgresql_where=sa.text("state = 'pending' AND code_index IS NOT NULL"),
    )
    op.create_index(
        "ix_challenges_unsettled",
        "challenges",
        ["state", "expires_at"],
        sqlite_where=sa.text("state = 'pending' AND accepted_at IS NULL"),
        postgresql_where=sa.text("state = 'pending' AND accepted_at IS NULL"),
    )
    op.create_index(
        "ix_challenges_attempt",
        "challenges",
        ["user_name", "attempt"],
        sqlite_where=sa.text("attempt IS NOT NULL"),
        postgresql_where=sa.text("attempt IS NOT NULL"),
    )
    op.create_table(
        "clients",
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("previous_secret_hash", sa.String(length=64)),
        sa.Column("previous_secret_until", sa.BigInteger()),
        sa.Column("allows_unbound", sa.Boolean(), nullable=False),
        sa.Column("return_urls", sa.Text(), nullable=False),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.Column("faces", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client_id"),
    )
    op.create_table(
        "failures",
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "subject"),
    )
    op.create_index("ix_failures_ends_at", "failures", ["ends_at"])
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("public_jwk", sa.Text(), nullable=False),
        sa.Column("sealed_private", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("signs_from", sa.BigInteger(), nullable=False),
        sa.Column("retires_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("kid"),
    )
    op.create_table(
        "users",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("oidc_issuer", sa.Text()),
        sa.Column("oidc_subject", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("uq_users_oidc", "users", ["oidc_issuer", "oidc_subject"], unique=True)
    op.create_table(
        "access_tokens",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("user_name", sa.String(length=64)),
        sa.Column("login", sa.String(length=32)),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("ix_access_tokens_client_id", "access_tokens", ["client_id"])
    op.create_index("ix_access_tokens_login", "access_tokens", ["login"])
    op.create_index("ix_access_tokens_expires_at", "access_tokens", ["expires_at"])
    op.create_table(
        "face_requests",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("face", sa.String(length=16), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("handle_hash", sa.String(length=64)),
        sa.Column("handle_until", sa.BigInteger()),
        sa.Column("used_at", sa.BigInteger()),
        sa.Column("polled_at", sa.BigInteger()),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("handle_hash"),
    )
    op.create_index("ix_face_requests_client_id", "face_requests", ["client_id"])
    op.create_index("ix_face_requests_expires_at", "face_requests", ["expires_at"])
    op.create_table(
        "pings",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_pings_client_id", "pings", ["client_id"])
    op.create_index("ix_pings_next_at", "pings", ["next_at"])
    op.create_table(
        "entra_accounts",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant", "object_id"),
    )
    op.create_index("ix_entra_accounts_user_name", "entra_accounts", ["user_name"])
    op.create_table(
        "used_values",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "hash"),
    )
    op.create_index("ix_used_values_expires_at", "used_values", ["expires_at"])
    op.create_table(
        "enrolments",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("code_index", sa.String(length=64), nullable=False),
        sa.Column("page_hash", sa.String(length=64), nullable=False),
        sa.Column("invited_by", sa.String(length=64)),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("presented_at", sa.BigInteger()),
        sa.Column("fingerprint", sa.String(length=64)),
        sa.Column("type", sa.String(length=64)),
        sa.Column("blob", sa.LargeBinary()),
        sa.Column("name", sa.Text()),
        sa.Column("source", sa.String(length=16)),
        sa.Column("client_ip", sa.Text()),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("page_hash"),
    )
    op.create_index("ix_enrolments_expires_at", "enrolments", ["expires_at"])
    op.create_index("ix_enrolments_state_expires_at", "enrolments", ["state", "expires_at"])
    op.create_index("ix_enrolments_user_name", "enrolments", ["user_name"])
    op.create_index(
        "uq_enrolments_code_index",
        "enrolments",
        ["code_index"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_index("ix_sessions_user_name", "sessions", ["user_name"])
    op.create_table(
        "ssh_keys",
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("attested", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("last_used_at", sa.BigInteger()),
        sa.Column("last_used_from", sa.Text()),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("fingerprint"),
    )
    op.create_index("ix_ssh_keys_user_name", "ssh_keys", ["user_name"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(TELL_OF_CHANGE)
        for table in ("challenges", "enrolments"):
            op.execute(ON_UPDATE.format(table=table))


# `database/changes_postgresql.py` listens for these notifications. A trigger misses no change, also none that an
# operator's command makes. It notifies only of changes that a waiting page can show. It does not notify of an INSERT:
# nobody waits for a row that does not exist yet, and PostgreSQL commits transactions that notify one after another.
TELL_OF_CHANGE = """
CREATE OR REPLACE FUNCTION sshaft_tell_of_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sshaft_changes', NEW.id);
    RETURN NULL;
END $$
"""
ON_UPDATE = """
CREATE TRIGGER sshaft_{table}_changed AFTER UPDATE OF state, tries ON {table} FOR EACH ROW
WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION sshaft_tell_of_change()
"""


def downgrade() -> None:
    for table in (
        "pings",
        "face_requests",
        "entra_accounts",
        "used_values",
        "ssh_keys",
        "sessions",
        "enrolments",
        "access_tokens",
        "users",
        "signing_keys",
        "failures",
        "clients",
        "challenges",
        "audit_events",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION sshaft_tell_of_change()")
        op.execute("DROP FUNCTION audit_events_append_only()")
