"""Lists and counts what people have at hosts."""

from datetime import datetime

from sqlalchemy import Connection, and_, func, select

from sshaft_identity.database.tables import host_logins, host_reports, users
from sshaft_identity.host_logins.ending import is_over
from sshaft_identity.host_logins.entries import SILENT, HostLogin, Kind, host_login

MOST = 200
"""Entries of a list, at most."""


def logins_of(connection: Connection, user: str, kind: Kind) -> list[HostLogin]:
    """Returns what the user has at hosts, the newest first, at most `MOST`."""
    query = (
        select(host_logins, host_reports.c.reported_at, is_over.label("is_over"))
        .join(
            host_reports,
            and_(host_reports.c.client_id == host_logins.c.client_id, host_reports.c.host == host_logins.c.host),
        )
        .join(users, users.c.id == host_logins.c.user_id)
        .where(users.c.name == user, host_logins.c.kind == kind)
        .order_by(host_logins.c.began_at.desc(), host_logins.c.id)
        .limit(MOST)
    )
    return [host_login(row) for row in connection.execute(query)]


def count_logins(connection: Connection) -> dict[Kind, int]:
    """Returns how many sessions and remembered approvals the hosts report."""
    counts = select(host_logins.c.kind, func.count()).group_by(host_logins.c.kind)
    found = {row[0]: row[1] for row in connection.execute(counts)}
    return {kind: found.get(kind, 0) for kind in Kind}


def count_silent_hosts(connection: Connection, now: datetime) -> int:
    """Returns how many hosts have not reported for a while."""
    silent = select(func.count()).select_from(host_reports).where(host_reports.c.reported_at <= now - SILENT)
    return connection.scalar(silent) or 0
