"""When a login has ended its client is told, at the address that it is registered with: CIBA's ping (§10.2), and what
Keycloak calls back for.

Who is to be told stands in the database until it was: so it does not matter which process has ended the login, nor
whether one is started anew meanwhile. A client may be told twice, and comes for its result only once.
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

AT_ONCE = 8
SECONDS = 5.0
"""For one try, in all."""
PAUSES = (timedelta(seconds=10), timedelta(seconds=30), timedelta(seconds=90))
"""After each try but the last: by then the client has asked by itself, or its login is over."""
MAX_ANSWER = 64 * 1024


Told = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Notice:
    """What a client of this face is to be told, by which token. `is_result`: it will not come for anything; that it
    passed is told by this.
    """

    face: str
    token: str = field(repr=False)
    passed: Told = field(repr=False)
    failed: Told = field(repr=False)
    is_result: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """One try to tell a client that a login has ended. `url` is where it is registered now."""

    challenge: str
    client_id: str
    url: str
    told: Told = field(repr=False)
    token: str = field(repr=False)
    is_result: bool
    is_last: bool


class Pings:
    def __init__(self, store: Store) -> None:
        self._database = store.database
        self._challenges = store.challenges
        # The client's token is a secret of the client's: in the database it can be read by us alone.
        self._cipher = AESSIV(HKDF(SHA256(), 64, None, b"sshaft-identity pings").derive(store.codes.key))

    def add(self, challenge: Challenge, client_id: str, notice: Notice) -> None:
        """The client is told when the challenge has ended."""
        sealed = self._cipher.encrypt(json.dumps(astuple(notice)).encode(), [challenge.id.encode()])
        values = {"id": challenge.id, "client_id": client_id, "sealed": sealed, "next_at": challenge.created_at}
        with self._database.write() as connection:
            connection.execute(insert(pings).values(values | {"tries": 0}))

    def forget(self, challenge: str) -> None:
        """The client knows."""
        with self._database.write() as connection:
            connection.execute(delete(pings).where(pings.c.id == challenge))

    def heard(self, ping: Ping, now: datetime) -> None:
        self.forget(ping.challenge)
        if ping.is_result:
            self._challenges.consume(ping.challenge, now, ping.client_id)

    def due(self, now: datetime, most: int = AT_ONCE) -> list[Ping]:
        """Those whose time has come, which no other process gets. Each is ours to send."""
        has_ended = or_(challenges.c.state != State.PENDING, challenges.c.expires_at <= now)
        query = select(pings, clients.c.faces, challenges.c.state).join(challenges, challenges.c.id == pings.c.id)
        query = query.join(clients, clients.c.client_id == pings.c.client_id)
        # who was never told goes before those whose client does not answer
        query = query.where(has_ended, pings.c.next_at <= now).order_by(pings.c.tries, pings.c.next_at).limit(most)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return []
        with self._database.write() as connection:
            mine = [row for row in rows if _take(connection, row.id, row.tries, now)]
        return [ping for row in mine if (ping := self._opened(row)) is not None]

    def _opened(self, row: Any) -> Ping | None:
        """None where the operator has taken the client's address, or our key, off meanwhile."""
        try:
            notice = Notice(*json.loads(self._cipher.decrypt(row.sealed, [row.id.encode()])))
            url = json.loads(row.faces).get(notice.face, {}).get("notification_endpoint")
        except (InvalidTag, ValueError):
            return None
        if url is None:
            return None
        told = notice.passed if row.state in (State.ACCEPTED, State.CONSUMED) else notice.failed
        is_last = row.tries == len(PAUSES)
        return Ping(row.id, row.client_id, url, told, notice.token, notice.is_result, is_last)


def _take(connection: Connection, challenge: str, tries: int, now: datetime) -> bool:
    """Whether the try is ours: of many who saw the row one finds it as it was. The last try is the row's end."""
    it = pings.c.id == challenge, pings.c.tries == tries
    if tries == len(PAUSES):
        return connection.execute(delete(pings).where(*it)).rowcount > 0
    later = update(pings).where(*it).values(tries=tries + 1, next_at=now + PAUSES[tries])
    return connection.execute(later).rowcount > 0


def send(http: HttpClient, ping: Ping) -> bool:
    """Whether the client has heard (§10.2: 204, or 200). Blocks, for `SECONDS` at most; follows no redirect."""
    facts = {"challenge": ping.challenge, "client": ping.client_id}
    headers = {"Authorization": f"Bearer {ping.token}"}
    try:
        answer = http.send("POST", ping.url, Deadline.after(SECONDS), json={**ping.told}, headers=headers)
    except SshaftError as error:
        get_logger().warning("ping.failed", reason=str(error), last=ping.is_last, **facts)
        return False
    if not 200 <= answer.status < 300:
        get_logger().warning("ping.failed", reason=f"answered {answer.status}", last=ping.is_last, **facts)
        return False
    get_logger().info("ping.sent", **facts)
    return True


class Notifier:
    """Sends due notifications, several at a time. A client that does not answer holds up nothing else."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._pings = Pings(store)
        self._clock = clock
        self._http = HttpClient(max_answer=MAX_ANSWER)
        self._limiter = CapacityLimiter(AT_ONCE)
        self._sending: set[asyncio.Task[None]] = set()

    async def send_due(self) -> None:
        """Starts to send each notification that is due, and does not wait for the answers."""
        for ping in await run_in_threadpool(self._pings.due, self._clock(), AT_ONCE - len(self._sending)):
            task = asyncio.create_task(self._send(ping))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, ping: Ping) -> None:
        if await anyio.to_thread.run_sync(send, self._http, ping, abandon_on_cancel=True, limiter=self._limiter):
            with suppress(SQLAlchemyError):  # then the client is told once more
                await run_in_threadpool(self._pings.heard, ping, self._clock())

    def close(self) -> None:
        for task in self._sending:
            task.cancel()
        self._http.close()
