"""Reads and writes approvals as rows."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select, update

from sshaft.addresses import source_of
from sshaft_identity.approvals.approval import OPEN, Approval, Asked, Consent, Person, State
from sshaft_identity.common.times import latest_begin
from sshaft_identity.database.tables import approvals

is_open = approvals.c.state.in_(OPEN)


def is_running(now: datetime) -> ColumnElement[bool]:
    """Whether the time of an approval is not over, see `Approval.state_at`."""
    return and_(approvals.c.expires_at > now, approvals.c.created_at <= latest_begin(now))


def read(connection: Connection, condition: ColumnElement[bool]) -> Approval | None:
    row = connection.execute(select(approvals).where(condition)).one_or_none()
    return None if row is None else approval_of(row)


def change(connection: Connection, conditions: Iterable[ColumnElement[bool]], values: dict[str, Any]) -> list[Approval]:
    """Changes the approvals that meet the conditions, by one UPDATE, and returns them."""
    statement = update(approvals).where(*conditions).values(values).returning(approvals)
    return [approval_of(row) for row in connection.execute(statement)]


def columns(approval: Approval) -> dict[str, Any]:
    """Returns the values of a new row."""
    asked = approval.asked
    return {
        "id": approval.id,
        "client_id": approval.client,
        "host": asked.host,
        "service": asked.service,
        "account": asked.account,
        "user_name": asked.user,
        "subject_id": asked.subject,
        "client_ip": asked.client_ip,
        "source": source_of(asked.client_ip or ""),
        "key_fingerprint": asked.key_fingerprint,
        "remember_seconds": asked.remember,
        "state": approval.state,
        "tries": approval.tries,
        "created_at": approval.created_at,
        "expires_at": approval.expires_at,
    }


def consent_columns(consent: Consent) -> dict[str, Any]:
    person = consent.person
    return {
        "approved_at": consent.at,
        "approver_name": person.user,
        "approver_id": person.user_id,
        "browser_ip": consent.browser_ip,
        "authenticated_at": person.authenticated_at,
        "amr": " ".join(person.amr),
        "acr": person.acr,
        "session_key": person.fingerprint,
    }


def approval_of(row: Any) -> Approval:
    consent = None
    if row.approved_at is not None:
        amr = tuple(row.amr.split())
        person = Person(row.approver_name, row.approver_id, row.authenticated_at, amr, row.acr, row.session_key)
        consent = Consent(person, row.approved_at, row.browser_ip)
    return Approval(
        id=row.id,
        client=row.client_id,
        asked=Asked(
            row.host,
            row.service,
            row.account,
            row.user_name,
            row.client_ip,
            row.key_fingerprint,
            row.subject_id,
            row.remember_seconds,
        ),
        created_at=row.created_at,
        expires_at=row.expires_at,
        state=State(row.state),
        tries=row.tries,
        consent=consent,
    )
