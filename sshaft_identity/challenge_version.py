"""What somebody who waits for a challenge can see change: of one that was read, or of many, as cheaply as can be."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select

from sshaft_identity.challenge import Challenge, State, is_over
from sshaft_identity.database import Database
from sshaft_identity.tables import challenges

Version = tuple[str, int]


def version(challenge: Challenge, now: datetime) -> Version:
    return challenge.state_at(now), challenge.tries


def read_versions(database: Database, identifiers: Collection[str], now: datetime) -> dict[str, Version]:
    """The same of each, in one query of no more columns than it takes: thousands may wait, and this is asked often."""
    columns = (
        challenges.c.id,
        challenges.c.state,
        challenges.c.tries,
        challenges.c.created_at,
        challenges.c.expires_at,
    )
    with database.read() as connection:
        rows = connection.execute(select(*columns).where(challenges.c.id.in_(identifiers))).all()
    return {
        identifier: (State.EXPIRED if state == State.PENDING and is_over(created_at, expires_at, now) else state, tries)
        for identifier, state, tries, created_at, expires_at in rows
    }
