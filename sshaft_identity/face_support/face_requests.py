"""Stores the data of a face about its challenge, and the one-time handle with which the client fetches the result.

Examples of a handle are an authorization code and an `auth_req_id`. The database has only hashes of handles.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, insert, or_, select, update

from sshaft_identity.common.digests import digest
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import face_requests

RETENTION = timedelta(days=1)
"""Requests are deleted this long after they began, so a handle that comes again is recognized until then."""


@dataclass(frozen=True, slots=True)
class FaceRequest:
    id: str
    """The id of the challenge."""
    client_id: str
    details: dict[str, Any]
    handle_until: datetime | None
    used_at: datetime | None
    polled_at: datetime | None


class FaceRequests:
    """The stored requests of one face. Requests of other faces are invisible here."""

    def __init__(self, database: Database, face: str) -> None:
        self._database = database
        self._face = face

    def add(self, challenge: str, client_id: str, details: Mapping[str, Any], now: datetime) -> None:
        values = {"id": challenge, "face": self._face, "client_id": client_id, "details": json.dumps(details)}
        with self._database.write() as connection:
            connection.execute(insert(face_requests).values(values | {"expires_at": now + RETENTION}))

    def get(self, challenge: str) -> FaceRequest | None:
        return self._find(face_requests.c.id == challenge)

    def of_handle(self, handle: str) -> FaceRequest | None:
        return self._find(face_requests.c.handle_hash == digest(handle))

    def issue_handle(self, challenge: str, until: datetime) -> str | None:
        """Returns a new handle, or None if the challenge has a handle already."""
        handle = secrets.token_urlsafe(32)
        change = self._update(challenge).where(face_requests.c.handle_hash.is_(None))
        with self._database.write() as connection:
            done = connection.execute(change.values(handle_hash=digest(handle), handle_until=until)).rowcount
        return handle if done else None

    def renew_handle(self, challenge: str, now: datetime) -> str | None:
        """Returns a new handle in place of the one before. Returns None if the time of `Returns` is over."""
        handle = secrets.token_urlsafe(32)
        with self._database.write() as connection:
            change = self._update(challenge).where(*_is_open(now)).values(handle_hash=digest(handle))
            done = connection.execute(change).rowcount
        return handle if done else None

    def redeem_handle(self, challenge: str, handle: str, now: datetime) -> bool:
        """Marks the handle as used. Returns whether this was its first use, and no renewal has voided it."""
        is_handle = face_requests.c.handle_hash == digest(handle)
        change = self._update(challenge).where(is_handle, face_requests.c.used_at.is_(None))
        with self._database.write() as connection:
            return connection.execute(change.values(used_at=now)).rowcount > 0

    def record_poll(self, challenge: str, now: datetime, interval: timedelta) -> bool:
        """Records that the client polled. Returns whether `interval` has passed since its poll before."""
        before = face_requests.c.polled_at
        has_waited = or_(before.is_(None), before <= now - interval, before > now)
        with self._database.write() as connection:
            on_time = connection.execute(self._update(challenge).where(has_waited).values(polled_at=now)).rowcount > 0
            if not on_time:
                connection.execute(self._update(challenge).values(polled_at=now))
            return on_time

    def _update(self, challenge: str) -> Any:
        return update(face_requests).where(face_requests.c.id == challenge, face_requests.c.face == self._face)

    def _find(self, condition: Any) -> FaceRequest | None:
        with self._database.read() as connection:
            query = select(face_requests).where(condition, face_requests.c.face == self._face)
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return FaceRequest(row.id, row.client_id, json.loads(row.details), row.handle_until, row.used_at, row.polled_at)


class Returns:
    """The time in which a browser may be led back to its application, for the requests of all faces.

    It is the lifetime of the handle (an authorization code), if the face issues one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, challenge: str, until: datetime) -> None:
        """Begins the time, unless it has begun."""
        is_first = update(face_requests).where(face_requests.c.id == challenge, face_requests.c.handle_until.is_(None))
        with self._database.write() as connection:
            connection.execute(is_first.values(handle_until=until))

    def may_repeat(self, challenge: str, now: datetime) -> bool:
        """Whether the time is not over, and no handle was redeemed."""
        with self._database.read() as connection:
            query = select(face_requests.c.id).where(face_requests.c.id == challenge, *_is_open(now))
            return connection.scalar(query) is not None


def _is_open(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return face_requests.c.used_at.is_(None), face_requests.c.handle_until > now


def face_of(database: Database, challenge: str) -> str | None:
    """Returns the name of the face that opened the challenge."""
    with database.read() as connection:
        face: str | None = connection.scalar(select(face_requests.c.face).where(face_requests.c.id == challenge))
    return face
