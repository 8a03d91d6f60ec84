"""A challenge as the face that opened it knows it: what it has to remember, and the handle that its client comes back
with. Handles are stored hashed, and each is taken once.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, or_, select, update

from sshaft_identity.common.digests import digest
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import face_requests

RETENTION = timedelta(days=1)
"""How long it is known what was taken already."""


@dataclass(frozen=True, slots=True)
class FaceRequest:
    id: str
    """Of its challenge."""
    client_id: str
    details: dict[str, Any]
    handle_until: datetime | None
    used_at: datetime | None
    polled_at: datetime | None


class FaceRequests:
    """Those of one face: no other sees them."""

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
        """A new one; None if one was given before."""
        handle = secrets.token_urlsafe(32)
        change = self._update(challenge).where(face_requests.c.handle_hash.is_(None))
        with self._database.write() as connection:
            done = connection.execute(change.values(handle_hash=digest(handle), handle_until=until)).rowcount
        return handle if done else None

    def redeem_handle(self, challenge: str, now: datetime) -> bool:
        """Take the handle: true once."""
        change = self._update(challenge).where(face_requests.c.used_at.is_(None))
        with self._database.write() as connection:
            return connection.execute(change.values(used_at=now)).rowcount > 0

    def record_poll(self, challenge: str, now: datetime, interval: timedelta) -> bool:
        """Note that the client asked; whether it has waited `interval` since it did before."""
        before = face_requests.c.polled_at
        is_late = or_(before.is_(None), before <= now - interval, before > now)
        with self._database.write() as connection:
            in_time = connection.execute(self._update(challenge).where(is_late).values(polled_at=now)).rowcount > 0
            if not in_time:
                connection.execute(self._update(challenge).values(polled_at=now))
            return in_time

    def _update(self, challenge: str) -> Any:
        return update(face_requests).where(face_requests.c.id == challenge, face_requests.c.face == self._face)

    def _find(self, condition: Any) -> FaceRequest | None:
        with self._database.read() as connection:
            query = select(face_requests).where(condition, face_requests.c.face == self._face)
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return FaceRequest(row.id, row.client_id, json.loads(row.details), row.handle_until, row.used_at, row.polled_at)


def face_of(database: Database, challenge: str) -> str | None:
    """The face that opened the challenge."""
    with database.read() as connection:
        face: str | None = connection.scalar(select(face_requests.c.face).where(face_requests.c.id == challenge))
    return face
