"""Stores the sessions of browsers that are signed in to "my keys".

A session ends after a time without use, and in any case after a fixed time. `enrolment.revocation` ends it earlier.
"""

import hmac
import json
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
MAX_ORDERS = 20
"""Orders at the help desk after one SSH login, at most. So a stolen session cannot remove everybody's keys."""
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

    `fingerprint` is that of the key that began a session by ssh. `issuer` and `groups` are those of a sign-in at the
    OpenID Provider. `passed_at` is when the person last passed an SSH login for this session. `amr` and `acr` say how
    the sign-in proved the person.
    """

    user: str
    method: Method
    authenticated_at: datetime
    expires_at: datetime
    token: str = field(repr=False)
    fingerprint: str | None = None
    issuer: str | None = None
    groups: frozenset[str] = frozenset()
    passed_at: datetime | None = None
    amr: tuple[str, ...] = ()
    acr: str | None = None

    def is_fresh(self, now: datetime) -> bool:
        return now < self.authenticated_at + FRESHNESS

    def has_fresh_pass(self, now: datetime) -> bool:
        """Whether the person has passed an SSH login for this session within `FRESHNESS`."""
        return self.passed_at is not None and self.passed_at <= latest_begin(now) and now < self.passed_at + FRESHNESS

    @property
    def form_token(self) -> str:
        """Returns the token in the forms of this session. Another site can neither read nor make it."""
        return digest(f"form\0{self.token}")

    def owns(self, form_token: str) -> bool:
        """Whether a form with this token is from a page of this session."""
        return hmac.compare_digest(self.form_token.encode(), form_token.encode())


@dataclass(frozen=True, slots=True)
class Proof:
    """What begins a session: the time at which the person proved themselves, and by what.

    `fingerprint`: the key of a sign-in by ssh. `issuer` and `groups`: what the OpenID Provider named. `amr` and `acr`:
    what the SSH login proved, or what the provider named.
    """

    method: Method
    authenticated_at: datetime
    fingerprint: str | None = None
    issuer: str | None = None
    groups: frozenset[str] = frozenset()
    amr: tuple[str, ...] = ()
    acr: str | None = None


class Sessions:
    def __init__(self, database: Database, times: SessionTimes) -> None:
        self._database = database
        self._idle, self._longest = timedelta(seconds=times.idle), timedelta(seconds=times.longest)

    def start(self, user: str, proof: Proof, now: datetime, **facts: Fact) -> Session | None:
        """Starts a session, or returns None if there is no such user. `facts` go to the audit log."""
        with self._database.write() as connection:
            return self.begin(connection, user, proof, now, facts)

    def begin(
        self, connection: Connection, user: str, proof: Proof, now: datetime, facts: Mapping[str, Fact]
    ) -> Session | None:
        """Starts a session in this transaction, see `start`."""
        method, authenticated_at = proof.method, proof.authenticated_at
        passed_at = authenticated_at if method is Method.SSH else None
        session = Session(
            user, method, authenticated_at, self._end(authenticated_at, now), secrets.token_urlsafe(32),
            proof.fingerprint, proof.issuer, proof.groups, passed_at, proof.amr, proof.acr,
        )  # fmt: skip
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
                fingerprint=proof.fingerprint,
                issuer=proof.issuer,
                groups=json.dumps(sorted(proof.groups)) if proof.groups else None,
                amr=" ".join(proof.amr) or None,
                acr=proof.acr,
                passed_at=passed_at,
                authenticated_at=authenticated_at,
                expires_at=session.expires_at,
            )
        )
        known: dict[str, Fact] = {"method": method, "fingerprint": proof.fingerprint, **facts}
        record_event(connection, "session.started", now, user=user, **known)
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
        return Session(
            row.user_name, Method(row.method), row.authenticated_at, end, token, row.fingerprint, row.issuer,
            frozenset(json.loads(row.groups or "[]")), row.passed_at, tuple((row.amr or "").split()), row.acr,
        )  # fmt: skip

    def _end(self, authenticated_at: datetime, now: datetime) -> datetime:
        return min(now + self._idle, authenticated_at + self._longest)


def note_pass(connection: Connection, session: Session, passed_at: datetime) -> bool:
    """Notes that the person has passed an SSH login for this session. Returns whether the session is still there."""
    own = update(sessions).where(sessions.c.token_hash == hash_of(session.token), sessions.c.user_name == session.user)
    return connection.execute(own.values(passed_at=passed_at, orders=0)).rowcount == 1


def count_order(connection: Connection, session: Session) -> bool:
    """Whether the SSH login of this session allows one more order: it is good for `MAX_ORDERS`. Counts the order."""
    same = sessions.c.token_hash == hash_of(session.token), sessions.c.passed_at == session.passed_at
    counted = update(sessions).where(*same, sessions.c.orders < MAX_ORDERS).values(orders=sessions.c.orders + 1)
    return connection.execute(counted).rowcount == 1


def hash_of(token: str) -> str:
    """Returns the name under which the database has the session with this token."""
    return digest(token)


def is_alive(connection: Connection, session: Session) -> bool:
    """Whether the session has not been ended."""
    found = select(sessions.c.method).where(sessions.c.token_hash == hash_of(session.token))
    return connection.scalar(found) is not None
