"""Stores the sessions of browsers that are signed in to "my keys".

A session ends after a time without use, and in any case after a fixed time. `enrolment.revocation` ends it earlier.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, delete, insert, select, update

from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.common.digests import digest
from sshaft_identity.common.times import latest_begin
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import sessions, users

FRESHNESS = timedelta(minutes=10)
"""The age of the sign-in, at most, to add or remove keys."""
_MIN_EXTENSION = timedelta(minutes=1)


class Method(StrEnum):
    SSH = "ssh"
    OIDC = "oidc"


class SessionTimes(BaseModel):
    """`sessions` in identity.json: how long browsers stay signed in, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    idle: int = Field(default=30 * 60, ge=60, description="without use")
    longest: int = Field(default=8 * 3600, ge=60, description="from the sign-in on, whatever is done")


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in. `authenticated_at` is when the person proved themselves, `token` the cookie.

    `fingerprint` is that of the key that began a session by ssh.
    """

    user: str
    method: Method
    authenticated_at: datetime
    expires_at: datetime
    token: str = field(repr=False)
    fingerprint: str | None = None

    def is_fresh(self, now: datetime) -> bool:
        return now < self.authenticated_at + FRESHNESS

    @property
    def form_token(self) -> str:
        """Returns the token in the forms of this session. Another site can neither read nor make it."""
        return digest(f"form\0{self.token}")

    def owns(self, form_token: str) -> bool:
        """Whether a form with this token is from a page of this session."""
        return hmac.compare_digest(self.form_token.encode(), form_token.encode())


class Sessions:
    def __init__(self, database: Database, times: SessionTimes) -> None:
        self._database = database
        self._idle, self._longest = timedelta(seconds=times.idle), timedelta(seconds=times.longest)

    def start(
        self, user: str, method: Method, now: datetime, *, authenticated_at: datetime, **facts: Fact
    ) -> Session | None:
        """Starts a session, or returns None if there is no such user. `facts` go to the audit log."""
        with self._database.write() as connection:
            return self.begin(connection, user, method, now, authenticated_at=authenticated_at, facts=facts)

    def begin(
        self,
        connection: Connection,
        user: str,
        method: Method,
        now: datetime,
        *,
        authenticated_at: datetime,
        facts: Mapping[str, Fact],
        fingerprint: str | None = None,
    ) -> Session | None:
        """Starts a session in this transaction, see `start`. `fingerprint`: the key that begins it."""
        end = self._end(authenticated_at, now)
        session = Session(user, method, authenticated_at, end, secrets.token_urlsafe(32), fingerprint)
        connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
        # The user cannot be removed before this transaction ends.
        locked = select(users.c.name).where(users.c.name == user).with_for_update(read=True, key_share=True)
        if connection.scalar(locked) is None:
            return None
        connection.execute(
            insert(sessions).values(
                token_hash=hash_of(session.token),
                user_name=user,
                method=method,
                fingerprint=fingerprint,
                authenticated_at=authenticated_at,
                expires_at=session.expires_at,
            )
        )
        record_event(connection, "session.started", now, user=user, method=method, fingerprint=fingerprint, **facts)
        return session

    def of_token(self, token: str, now: datetime) -> Session | None:
        """Returns the session with this token, if it has not ended, and extends it because it is used now."""
        query = select(sessions).where(sessions.c.token_hash == hash_of(token))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or row.expires_at <= now:
            return None
        # begun or used later than now: the clock was set back
        if max(row.authenticated_at, row.expires_at - self._idle) > latest_begin(now):
            return None
        end = self._end(row.authenticated_at, now)
        if end - row.expires_at > _MIN_EXTENSION:
            with self._database.write() as connection:
                connection.execute(
                    update(sessions).where(sessions.c.token_hash == row.token_hash).values(expires_at=end)
                )
        return Session(row.user_name, Method(row.method), row.authenticated_at, end, token, row.fingerprint)

    def _end(self, authenticated_at: datetime, now: datetime) -> datetime:
        return min(now + self._idle, authenticated_at + self._longest)


def hash_of(token: str) -> str:
    """Returns the name under which the database has the session with this token."""
    return digest(token)


def is_alive(connection: Connection, session: Session) -> bool:
    """Whether the session has not been ended."""
    found = select(sessions.c.method).where(sessions.c.token_hash == hash_of(session.token))
    return connection.scalar(found) is not None
