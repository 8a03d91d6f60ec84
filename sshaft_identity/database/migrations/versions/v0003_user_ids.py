"""Gives each user an id and a name in lower case, and records what a key or a session has begun."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

users = sa.table(
    "users", *(sa.column(name, sa.String) for name in ("name", "id", "folded_name")), sa.column("created_at")
)
audit_events = sa.table("audit_events", sa.column("event", sa.String), sa.column("user_name", sa.String))

# The trigger of revision 0001 for updates, with and without the new column.
_SQLITE_TRIGGER = """
CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
WHEN NOT (
    OLD.seq IS NULL AND OLD.hash IS NULL AND NEW.seq IS NOT NULL AND NEW.hash IS NOT NULL
    AND NEW.id IS OLD.id AND NEW.at IS OLD.at AND NEW.event IS OLD.event
    AND NEW.user_name IS OLD.user_name AND {more} NEW.facts IS OLD.facts
)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
"""
_POSTGRESQL_FUNCTION = """
CREATE OR REPLACE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.seq IS NULL AND OLD.hash IS NULL AND NEW.seq IS NOT NULL AND NEW.hash IS NOT NULL
            AND (NEW.id, NEW.at, NEW.event, NEW.user_name, {new} NEW.facts)
                IS NOT DISTINCT FROM (OLD.id, OLD.at, OLD.event, OLD.user_name, {old} OLD.facts)
        THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit_events is append-only';
END
$$
"""
_COLUMNS = (
    ("ssh_keys", "added_with", sa.String(64)),
    ("sessions", "fingerprint", sa.String(64)),
    ("enrolments", "opened_in", sa.String(16)),
    ("enrolments", "approval", sa.String(32)),
    ("enrolments", "attested", sa.Text()),
)


def upgrade() -> None:
    op.add_column("users", sa.Column("id", sa.String(64), nullable=False, server_default=""))
    op.add_column("users", sa.Column("folded_name", sa.String(64)))
    _fill_users()
    if op.get_bind().dialect.name == "postgresql":  # SQLite cannot drop a default, and needs one for the new column
        op.alter_column("users", "id", server_default=None)
    op.create_index("uq_users_id", "users", ["id"], unique=True)
    op.create_index("uq_users_folded_name", "users", ["folded_name"], unique=True)
    op.add_column("audit_events", sa.Column("user_id", sa.String(64)))
    _protect_audit_events(with_user_id=True)
    for table, name, kind in _COLUMNS:
        op.add_column(table, sa.Column(name, kind))


def _fill_users() -> None:
    """Gives each user the name as id, so that no client sees another `sub` for the user after the update.

    A name that was given out anew is no identity: its user gets a random id. Of users whose names differ in case only,
    the oldest gets the folded name.
    """
    connection = op.get_bind()
    removed = sa.select(audit_events.c.user_name).where(audit_events.c.event == "user.removed")
    given_anew = set(connection.scalars(removed))
    taken: set[str] = set()
    for name in connection.scalars(sa.select(users.c.name).order_by(users.c.created_at, users.c.name)).all():
        folded = None if name.lower() in taken else name.lower()
        taken.add(name.lower())
        identifier = secrets.token_hex(16) if name in given_anew else name
        change = sa.update(users).where(users.c.name == name).values(id=identifier, folded_name=folded)
        connection.execute(change)


def _protect_audit_events(*, with_user_id: bool) -> None:
    if op.get_bind().dialect.name == "postgresql":
        new, old = ("NEW.user_id,", "OLD.user_id,") if with_user_id else ("", "")
        op.execute(_POSTGRESQL_FUNCTION.format(new=new, old=old))
        return
    op.execute("DROP TRIGGER audit_events_no_update")
    op.execute(_SQLITE_TRIGGER.format(more="NEW.user_id IS OLD.user_id AND" if with_user_id else ""))


def downgrade() -> None:
    for table, name, _ in _COLUMNS:
        op.drop_column(table, name)
    _protect_audit_events(with_user_id=False)
    op.drop_column("audit_events", "user_id")
    op.drop_index("uq_users_folded_name", "users")
    op.drop_index("uq_users_id", "users")
    op.drop_column("users", "folded_name")
    op.drop_column("users", "id")
