"""Notifies clients, at their registered addresses, that a login has ended: the ping of CIBA (§10.2), and the call-back
of Keycloak.

A notification is stored in the database until it is delivered. So any process can end the login, and a restart loses
nothing. A client may get a notification twice, but it can fetch its result only once.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import anyio.to_thread
from anyio import CapacityLimiter
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, delete, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from sshaft.deadline import Deadline
from sshaft.errors import SshaftError
from sshaft.http_client import HttpClient
from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import Challenge, State
from sshaft_identity.common.times import Clock
from sshaft_identity.database.tables import challenges, clients, pings
from sshaft_identity.store import Store

MAX_PARALLEL = 8
REQUEST_SECONDS = 5.0
"""The time limit of one try."""
RETRY_PAUSES = (timedelta(seconds=10), timedelta(seconds=30), timedelta(seconds=90))
"""The pause after each try but the last. After the last pause the client has polled, or the login has expired."""
MAX_ANSWER = 64 * 1024


Body = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification for a client of `face`. `token` is the bearer token that the client gave us for it.

    `is_result`: the client fetches nothing afterwards, so the notification itself delivers the result.
    """

    face: str
    token: str = field(repr=False)
    if_passed: Body = field(repr=False)
    if_failed: Body = field(repr=False)
    is_result: bool = False


@dataclass(frozen=True, slots=True)
class DueNotification:
    """One try to deliver a notification. `url` is the present registered address of the client."""

    challenge: str
    client_id: str
    url: str
    body: Body = field(repr=False)
    token: str = field(repr=False)
    is_result: bool
    is_last: bool


class Notifications:
    """The stored notifications."""

    def __init__(self, store: Store) -> None:
        self._database = store.database
        self._challenges = store.challenges
        # The token is a secret of the client, so it is encrypted in the database.
        self._cipher = AESSIV(HKDF(SHA256(), 64, None, b"sshaft-identity pings").derive(store.codes.key))

    def add(self, challenge: Challenge, client_id: str, notification: Notification) -> None:
        """Stores a notification that is sent when the challenge has ended."""
        sealed = self._cipher.encrypt(json.dumps(astuple(notification)).encode(), [challenge.id.encode()])
        values = {"id": challenge.id, "client_id": client_id, "sealed": sealed, "next_at": challenge.created_at}
        with self._database.write() as connection:
            connection.execute(insert(pings).values(values | {"tries": 0}))

    def delete(self, challenge: str) -> None:
        """Deletes the notification of a challenge whose end the client knows."""
        with self._database.write() as connection:
            connection.execute(delete(pings).where(pings.c.id == challenge))

    def mark_delivered(self, due: DueNotification, now: datetime) -> None:
        self.delete(due.challenge)
        if due.is_result:
            self._challenges.consume(due.challenge, now, due.client_id)

    def take_due(self, now: datetime, most: int = MAX_PARALLEL) -> list[DueNotification]:
        """Takes at most `most` notifications that are due. No other process gets the same try."""
        has_ended = or_(challenges.c.state != State.PENDING, challenges.c.expires_at <= now)
        query = select(pings, clients.c.faces, challenges.c.state).join(challenges, challenges.c.id == pings.c.id)
        query = query.join(clients, clients.c.client_id == pings.c.client_id)
        # The first tries come first: clients that do not answer must not delay them.
        query = query.where(has_ended, pings.c.next_at <= now).order_by(pings.c.tries, pings.c.next_at).limit(most)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return []
        with self._database.write() as connection:
            mine = [row for row in rows if _claim_try(connection, row.id, row.tries, now)]
        return [due for row in mine if (due := self._decrypted(row)) is not None]

    def _decrypted(self, row: Any) -> DueNotification | None:
        """Returns None if the operator has removed the address of the client, or our key, since."""
        try:
            notification = Notification(*json.loads(self._cipher.decrypt(row.sealed, [row.id.encode()])))
            url = json.loads(row.faces).get(notification.face, {}).get("notification_endpoint")
        except (InvalidTag, ValueError):
            return None
        if url is None:
            return None
        has_passed = row.state in (State.ACCEPTED, State.CONSUMED)
        body = notification.if_passed if has_passed else notification.if_failed
        is_last = row.tries == len(RETRY_PAUSES)
        return DueNotification(row.id, row.client_id, url, body, notification.token, notification.is_result, is_last)


def _claim_try(connection: Connection, challenge: str, tries: int, now: datetime) -> bool:
    """Whether this process gets the try: only one process finds the row unchanged. The last try deletes the row."""
    unchanged = pings.c.id == challenge, pings.c.tries == tries
    if tries == len(RETRY_PAUSES):
        return connection.execute(delete(pings).where(*unchanged)).rowcount > 0
    later = update(pings).where(*unchanged).values(tries=tries + 1, next_at=now + RETRY_PAUSES[tries])
    return connection.execute(later).rowcount > 0


def send(http: HttpClient, due: DueNotification) -> bool:
    """Sends the notification. Returns whether the client has answered with success (§10.2: 204 or 200).

    Blocks for `REQUEST_SECONDS` at most, and follows no redirect.
    """
    facts = {"challenge": due.challenge, "client": due.client_id}
    headers = {"Authorization": f"Bearer {due.token}"}
    try:
        answer = http.send("POST", due.url, Deadline.after(REQUEST_SECONDS), json={**due.body}, headers=headers)
    except SshaftError as error:
        get_logger().warning("ping.failed", reason=str(error), last=due.is_last, **facts)
        return False
    if not 200 <= answer.status < 300:
        get_logger().warning("ping.failed", reason=f"answered {answer.status}", last=due.is_last, **facts)
        return False
    get_logger().info("ping.sent", **facts)
    return True


class Notifier:
    """Sends due notifications, several at a time. A client that does not answer delays no other client."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._notifications = Notifications(store)
        self._clock = clock
        self._http = HttpClient(max_answer=MAX_ANSWER)
        self._limiter = CapacityLimiter(MAX_PARALLEL)
        self._sending: set[asyncio.Task[None]] = set()

    async def send_due(self) -> None:
        """Starts to send each notification that is due, and does not wait for the answers."""
        free = MAX_PARALLEL - len(self._sending)
        for due in await run_in_threadpool(self._notifications.take_due, self._clock(), free):
            task = asyncio.create_task(self._send(due))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, due: DueNotification) -> None:
        if await anyio.to_thread.run_sync(send, self._http, due, abandon_on_cancel=True, limiter=self._limiter):
            with suppress(SQLAlchemyError):  # after a database error the client gets the notification once more
                await run_in_threadpool(self._notifications.mark_delivered, due, self._clock())

    def close(self) -> None:
        for task in self._sending:
            task.cancel()
        self._http.close()
