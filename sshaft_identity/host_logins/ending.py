"""Decides what must end at the hosts.

A revocation is one row. Each report and each list compares it with what the hosts have reported, so a session that a
host reports after the revocation ends, too.
"""

import secrets
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, or_, select, update

from sshaft_identity.audit.log import Fact
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import host_logins, host_revocations, users
from sshaft_identity.host_logins.entries import Kind
from sshaft_identity.host_logins.events import record_end_ordered

_is_revoked = (
    exists()
    .where(
        host_revocations.c.user_id == host_logins.c.user_id,
        host_revocations.c.at >= host_logins.c.granted_at,
        or_(
            host_revocations.c.fingerprint.is_(None),
            host_revocations.c.fingerprint == host_logins.c.fingerprint,
            host_revocations.c.fingerprint == host_logins.c.approved_with,
        ),
        or_(host_revocations.c.kind.is_(None), host_revocations.c.kind == host_logins.c.kind),
    )
    .correlate(host_logins)
)
_is_removed = ~exists().where(users.c.id == host_logins.c.user_id).correlate(host_logins)
is_over: ColumnElement[bool] = or_(host_logins.c.ended_at.is_not(None), _is_removed, _is_revoked)
"""Whether the host must end this row of `host_logins`."""


def revoke(
    connection: Connection, user: str, now: datetime, *, fingerprint: str | None = None, kind: Kind | None = None
) -> int:
    """Ends what the user has at hosts, or only what needed the key, or is of this kind.

    Returns the number of known entries.
    """
    user_id = connection.scalar(select(users.c.id).where(users.c.name == user))
    if user_id is None:
        return 0
    mine = and_(host_logins.c.user_id == user_id, ~is_over)
    if fingerprint is not None:
        mine &= or_(host_logins.c.fingerprint == fingerprint, host_logins.c.approved_with == fingerprint)
    if kind is not None:
        mine &= host_logins.c.kind == kind
    count = connection.scalar(select(func.count()).select_from(host_logins).where(mine)) or 0
    row = {"id": secrets.token_hex(16), "user_id": user_id, "fingerprint": fingerprint, "kind": kind, "at": now}
    connection.execute(insert(host_revocations).values(row))
    return count


def end(database: Database, user: str, identifier: str, now: datetime, **facts: Fact) -> bool:
    """Orders the host to end one entry of the user. Returns whether the user has it. `facts` go to the audit log.

    A second order changes nothing and is no second event.
    """
    with database.write() as connection:
        user_id = select(users.c.id).where(users.c.name == user).scalar_subquery()
        is_own = and_(host_logins.c.id == identifier, host_logins.c.user_id == user_id)
        ended = update(host_logins).where(is_own, host_logins.c.ended_at.is_(None)).values(ended_at=now)
        row = connection.execute(ended.returning(host_logins)).one_or_none()
        if row is None:
            return connection.scalar(select(host_logins.c.id).where(is_own)) is not None
        record_end_ordered(connection, row, now, user, **facts)
        return True
