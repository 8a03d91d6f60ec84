"""A person's own keys: listed with their use, renamed, removed. Every change is in the audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, select, update

from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import ssh_keys

MAX_NAME = 80


@dataclass(frozen=True, slots=True)
class OwnKey:
    """`name`, `attested` and `last_used_from` are foreign text."""

    fingerprint: str
    type: str
    name: str
    source: str
    attested: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None


class OwnKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, user: str) -> list[OwnKey]:
        """The last used first."""
        query = select(ssh_keys).where(ssh_keys.c.user_name == user)
        latest = func.coalesce(ssh_keys.c.last_used_at, ssh_keys.c.created_at).desc()
        with self._database.read() as connection:
            return [_own_key(row) for row in connection.execute(query.order_by(latest, ssh_keys.c.fingerprint))]

    def rename(self, user: str, fingerprint: str, name: str, now: datetime, **facts: Fact) -> bool:
        """Whether the key is the user's, and so is called `name` now."""
        name = name[:MAX_NAME]
        theirs = update(ssh_keys).where(ssh_keys.c.fingerprint == fingerprint, ssh_keys.c.user_name == user)
        with self._database.write() as connection:
            done = connection.execute(theirs.values(name=name)).rowcount == 1
            if done:
                record_event(connection, "key.renamed", now, user=user, fingerprint=fingerprint, name=name, **facts)
        return done

    def remove(self, user: str, fingerprint: str, now: datetime, **facts: Fact) -> bool:
        """Whether the key was the user's, and so is gone."""
        theirs = delete(ssh_keys).where(ssh_keys.c.fingerprint == fingerprint, ssh_keys.c.user_name == user)
        with self._database.write() as connection:
            done = connection.execute(theirs).rowcount == 1
            if done:
                record_event(connection, "key.removed", now, user=user, fingerprint=fingerprint, **facts)
        return done


def _own_key(row: Row[Any]) -> OwnKey:
    return OwnKey(
        row.fingerprint, row.type, row.name, row.source, row.attested, row.created_at, row.expires_at,
        row.last_used_at, row.last_used_from,
    )  # fmt: skip
