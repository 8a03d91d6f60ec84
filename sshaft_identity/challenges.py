"""Challenges in the database: opened, looked up, listed, and taken to their end. What may happen to one is said by
`challenge`.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import insert, select, update

from sshaft_identity.attempts import Answer, Attempt, judge
from sshaft_identity.challenge import Challenge, Context, State, Verdict
from sshaft_identity.challenge_rows import columns, is_pending, of_user, read_again, read_all, step
from sshaft_identity.codes import Codes, digest, new_page_token
from sshaft_identity.database import Database
from sshaft_identity.enrolment import RegisteredKey, registered_key
from sshaft_identity.tables import challenges, ssh_keys

KEPT = timedelta(days=7)
"""How long a challenge can be asked after, from its opening."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A new challenge with what exists only now: its code and its page's token."""

    challenge: Challenge
    code: str
    page_token: str


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A registered key and one pending challenge of its owner, if there is one."""

    key: RegisteredKey
    challenge: Challenge | None


class Challenges:
    def __init__(self, database: Database, codes: Codes) -> None:
        self._database = database
        self._codes = codes

    def open(
        self,
        user: str,
        now: datetime,
        lifetime: timedelta,
        *,
        client: str | None = None,
        context: Context | None = None,
    ) -> Opened:
        """A new pending challenge, whether or not there is such a user."""
        with self._database.write(alone=f"codes of {user}") as connection:
            others = read_all(connection, of_user(user).where(is_pending, challenges.c.expires_at > now))
            page_token, code = self._fresh_code(others)
            identifier = secrets.token_hex(16)
            challenge = Challenge(
                id=identifier,
                user=user,
                client=client,
                context=context or Context(),
                created_at=now,
                expires_at=now + lifetime,
                code_hmac=self._codes.sealed(identifier, code),
            )
            connection.execute(insert(challenges).values(page_hash=digest(page_token), **columns(challenge)))
        return Opened(challenge, code, page_token)

    def _fresh_code(self, others: Collection[Challenge]) -> tuple[str, str]:
        """A page token and its code, which none of the user's other pending challenges has: the code may choose."""
        while True:
            page_token = new_page_token()
            code = self._codes.of_page(page_token)
            if not any(self._matches(other, code) for other in others):
                return page_token, code

    def _matches(self, challenge: Challenge, code: str) -> bool:
        return self._codes.matches(challenge.id, code, challenge.code_hmac)

    def get(self, identifier: str) -> Challenge | None:
        with self._database.read() as connection:
            return next(iter(read_all(connection, select(challenges).where(challenges.c.id == identifier))), None)

    def of_page(self, page_token: str) -> Challenge | None:
        query = select(challenges).where(challenges.c.page_hash == digest(page_token))
        with self._database.read() as connection:
            return next(iter(read_all(connection, query)), None)

    def recent(self) -> list[Challenge]:
        """All that are kept, the newest first."""
        with self._database.read() as connection:
            return read_all(connection, select(challenges).order_by(challenges.c.created_at.desc()))

    def listed(self, now: datetime, fingerprint: str | None = None) -> list[ListedKey]:
        """The keys of users with pending challenges, an entry for each pair; or one registered key, pending or not."""
        alive = (challenges.c.user_name == ssh_keys.c.user_name) & is_pending & (challenges.c.expires_at > now)
        query = select(ssh_keys, challenges.c.id).order_by(ssh_keys.c.user_name, challenges.c.created_at)
        if fingerprint is None:
            query = query.select_from(challenges.join(ssh_keys, alive))
        else:
            query = query.select_from(ssh_keys.outerjoin(challenges, alive)).where(
                ssh_keys.c.fingerprint == fingerprint
            )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            wanted = {row.id for row in rows if row.id is not None}
            by_id = {c.id: c for c in read_all(connection, select(challenges).where(challenges.c.id.in_(wanted)))}
        return [ListedKey(registered_key(row), by_id.get(row.id)) for row in rows]

    def accept(self, attempt: Attempt, now: datetime) -> Answer:
        """Judge one attempt, see `attempts`."""
        with self._database.write() as connection:
            return judge(connection, self._codes, attempt, now)

    def reject(self, user: str, now: datetime, identifier: str | None = None) -> Answer:
        """Reject one pending challenge of the user, or all. One that was rejected before is answered alike."""
        with self._database.write() as connection:
            query = of_user(user) if identifier is None else of_user(user).where(challenges.c.id == identifier)
            pending = read_all(connection, query.where(is_pending, challenges.c.expires_at > now))
            done = [each for each in pending if step(connection, each.id, State.REJECTED, now)]
            if identifier is not None and not done:
                done = read_all(connection, query.where(challenges.c.state == State.REJECTED))
            return Answer(Verdict.REJECTED if done else Verdict.NO_CHALLENGE, tuple(read_again(connection, done)))

    def cancel(self, identifier: str, now: datetime) -> bool:
        """Whether it was pending and is cancelled now."""
        with self._database.write() as connection:
            return step(connection, identifier, State.CANCELLED, now)

    def consume(self, identifier: str) -> bool:
        """True once, for a challenge that was accepted."""
        taken = update(challenges).where(challenges.c.id == identifier, challenges.c.state == State.ACCEPTED)
        with self._database.write() as connection:
            return connection.execute(taken.values(state=State.CONSUMED)).rowcount == 1
