"""Finds out when and how a login ended, for the person whose login it was."""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from sshaft_identity.challenges.challenge import Challenge, State
from sshaft_identity.database.tables import audit_events, ssh_keys, users

_EVENTS = {State.REJECTED: "challenge.rejected", State.CANCELLED: "challenge.cancelled"}
_MAX_EVENTS = 50
"""So many of the last endings of the user are read. A login is asked after soon, or not at all."""


@dataclass(frozen=True, slots=True)
class Ending:
    """When a login ended. `reason` is that of the audit log, and the key is the one that passed or denied the login."""

    at: datetime
    reason: str | None = None
    fingerprint: str | None = None
    key_name: str | None = None
    """Foreign text."""


def ending_of(connection: Connection, challenge: Challenge, now: datetime) -> Ending | None:
    """Returns how the challenge ended; None: it waits, it names no user, or the audit log does not say when."""
    state, approval = challenge.state_at(now), challenge.approval
    if challenge.user is None or state is State.PENDING or not _is_of_present_user(connection, challenge):
        return None
    if state is State.EXPIRED:
        return Ending(challenge.expires_at)
    if state in _EVENTS:
        return _recorded(connection, challenge, _EVENTS[state])
    if approval is None:
        return None
    return _with_name(connection, challenge.user, Ending(approval.accepted_at, fingerprint=approval.fingerprint))


def _is_of_present_user(connection: Connection, challenge: Challenge) -> bool:
    """Whether nobody else had the user's name when the challenge began."""
    is_present = users.c.name == challenge.user, users.c.created_at <= challenge.created_at
    return connection.scalar(select(users.c.id).where(*is_present)) is not None


def _recorded(connection: Connection, challenge: Challenge, event: str) -> Ending | None:
    columns = audit_events.c
    query = (
        select(columns.at, columns.facts)
        .where(
            columns.user_name == challenge.user,
            columns.at >= challenge.created_at,
            columns.event == event,
        )
        .order_by(columns.at.desc())
        .limit(_MAX_EVENTS)
    )
    for row in connection.execute(query):
        facts = json.loads(row.facts)
        if facts.get("challenge") == challenge.id:
            ending = Ending(row.at, facts.get("reason"), facts.get("fingerprint"))
            return _with_name(connection, str(challenge.user), ending)
    return None


def _with_name(connection: Connection, user: str, ending: Ending) -> Ending:
    own_key = ssh_keys.c.fingerprint == ending.fingerprint, ssh_keys.c.user_name == user
    name = connection.scalar(select(ssh_keys.c.name).where(*own_key)) or None
    return Ending(ending.at, ending.reason, ending.fingerprint, name)
