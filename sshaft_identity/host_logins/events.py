"""Writes the audit events of entries: a session begins and ends once, an approval is remembered and forgotten once."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.host_logins.entries import Kind


def record_began(connection: Connection, row: Row[Any], now: datetime, user: str) -> None:
    if row.kind == Kind.SESSION:
        record_event(connection, "host_session.began", now, user=user, **_facts(row))
    else:
        record_event(connection, "host_approval.remembered", now, user=user, **_facts(row))


def record_ended(connection: Connection, row: Row[Any], now: datetime, user: str | None) -> None:
    """`user`: None if the user was removed meanwhile."""
    if row.kind == Kind.SESSION:
        record_event(connection, "host_session.ended", now, user=user, **_facts(row))
    else:
        record_event(connection, "host_approval.forgotten", now, user=user, **_facts(row))


def record_end_ordered(connection: Connection, row: Row[Any], now: datetime, user: str, **facts: Fact) -> None:
    if row.kind == Kind.SESSION:
        record_event(connection, "host_session.end_ordered", now, user=user, **_facts(row), **facts)
    else:
        record_event(connection, "host_approval.end_ordered", now, user=user, **_facts(row), **facts)


def _facts(row: Row[Any]) -> dict[str, Fact]:
    return {
        "reported_by": row.client_id, "host": row.host, "account": row.account, "service": row.service,
        "ssh_address": row.source, "fingerprint": row.fingerprint, "approval": row.approval,
    }  # fmt: skip
