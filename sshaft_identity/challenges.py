"""Challenges in the database. Every step is one conditional UPDATE whose row count decides, so that of many who try
at once exactly one succeeds, on SQLite and PostgreSQL alike. What may happen to a challenge says `challenge`.
"""

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, case, delete, insert, or_, select, update

from sshaft_identity.challenge import MAX_TRIES, Approval, Challenge, Context, State, Verdict, standing
from sshaft_identity.codes import Codes, digest, new_page_token
from sshaft_identity.database import Database
from sshaft_identity.enrolment import RegisteredKey, registered_key
from sshaft_identity.tables import challenges, ssh_keys, users

KEPT = timedelta(days=7)
"""How long a challenge can be asked after, from its opening."""

_pending = challenges.c.state == State.PENDING


@dataclass(frozen=True, slots=True)
class Opened:
    """A new challenge with what exists only now: its code and its page's token."""

    challenge: Challenge
    code: str
    page_token: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to accept, as the agent tells it. `name` is the same for the same try, see `codes.attempt_name`."""

    user: str
    challenge: str | None = None
    code: str | None = None
    fingerprint: str | None = None
    client_ip: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended; `challenges` are those it concerned, as they are now."""

    verdict: Verdict
    challenges: tuple[Challenge, ...] = ()

    @property
    def attempts_left(self) -> int:
        return max((challenge.attempts_left for challenge in self.challenges), default=0)


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
        with self._database.write() as connection:
            _sweep(connection, now)
            others = _all(connection, _of(user).where(_pending, challenges.c.expires_at > now))
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
            connection.execute(insert(challenges).values(page_hash=digest(page_token), **_columns(challenge)))
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
            return next(iter(_all(connection, select(challenges).where(challenges.c.id == identifier))), None)

    def of_page(self, page_token: str) -> Challenge | None:
        query = select(challenges).where(challenges.c.page_hash == digest(page_token))
        with self._database.read() as connection:
            return next(iter(_all(connection, query)), None)

    def some(self, identifiers: Collection[str]) -> list[Challenge]:
        with self._database.read() as connection:
            return _all(connection, select(challenges).where(challenges.c.id.in_(identifiers)))

    def recent(self) -> list[Challenge]:
        """All that are kept, the newest first."""
        with self._database.read() as connection:
            return _all(connection, select(challenges).order_by(challenges.c.created_at.desc()))

    def listed(self, now: datetime, fingerprint: str | None = None) -> list[ListedKey]:
        """The keys of users with pending challenges, an entry for each pair; or one registered key, pending or not."""
        alive = (challenges.c.user_name == ssh_keys.c.user_name) & _pending & (challenges.c.expires_at > now)
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
            by_id = {c.id: c for c in _all(connection, select(challenges).where(challenges.c.id.in_(wanted)))}
        return [ListedKey(registered_key(row), by_id.get(row.id)) for row in rows]

    def accept(self, attempt: Attempt, now: datetime) -> Answer:
        """Judge one attempt. A wrong code counts against every challenge that it may have been meant for."""
        with self._database.write() as connection:
            if connection.scalar(select(users.c.name).where(users.c.name == attempt.user)) is None:
                return Answer(Verdict.UNKNOWN_KEY if attempt.fingerprint else Verdict.NO_CHALLENGE)
            key_type = _key_type(connection, attempt)
            if attempt.fingerprint is not None and key_type is None:
                return Answer(Verdict.UNKNOWN_KEY)
            candidates = _candidates(connection, attempt, now)
            undecided = [each for each in candidates if standing(each, attempt.name, now) is None]
            if not undecided:
                return _settled(candidates, attempt, now)
            if attempt.code is None:
                return Answer(Verdict.CODE_REQUIRED, tuple(undecided))
            right = [each for each in undecided if self._matches(each, attempt.code)]
            if right:
                approval = Approval(now, attempt.fingerprint, key_type, attempt.client_ip)
                done = _accept(connection, right[0], attempt, approval)
                concerned = right[:1]
            else:
                done = False not in [_count_wrong(connection, each, attempt, now) for each in undecided]
                concerned = undecided
            after = _again(connection, concerned)
            if not done:  # somebody was faster: their step stands, and this attempt meets what they left
                return _settled(after, attempt, now)
            return Answer(Verdict.ACCEPTED if right else Verdict.INVALID_CODE, tuple(after))

    def reject(self, user: str, now: datetime, identifier: str | None = None) -> Answer:
        """Reject one pending challenge of the user, or all. One that was rejected before is answered alike."""
        with self._database.write() as connection:
            query = _of(user) if identifier is None else _of(user).where(challenges.c.id == identifier)
            pending = _all(connection, query.where(_pending, challenges.c.expires_at > now))
            done = [each for each in pending if _step(connection, each.id, State.REJECTED, now)]
            if identifier is not None and not done:
                done = _all(connection, query.where(challenges.c.state == State.REJECTED))
            return Answer(Verdict.REJECTED if done else Verdict.NO_CHALLENGE, tuple(_again(connection, done)))

    def cancel(self, identifier: str, now: datetime) -> bool:
        """Whether it was pending and is cancelled now."""
        with self._database.write() as connection:
            return _step(connection, identifier, State.CANCELLED, now)

    def consume(self, identifier: str) -> bool:
        """True once, for a challenge that was accepted."""
        taken = update(challenges).where(challenges.c.id == identifier, challenges.c.state == State.ACCEPTED)
        with self._database.write() as connection:
            return connection.execute(taken.values(state=State.CONSUMED)).rowcount == 1


def _candidates(connection: Connection, attempt: Attempt, now: datetime) -> list[Challenge]:
    """What the attempt may have been meant for: the named one; else those judged by this very attempt before; else all
    pending ones of the user; else the last one that would still run, so that "too late" can say why.
    """
    mine = _of(attempt.user)
    if attempt.challenge is not None:
        return _all(connection, mine.where(challenges.c.id == attempt.challenge))
    if attempt.name is not None:
        before = _all(connection, mine.where(challenges.c.attempt == attempt.name))
        if before:
            return before
    alive = mine.where(challenges.c.expires_at > now)
    last = alive.order_by(None).order_by(challenges.c.created_at.desc()).limit(1)
    return _all(connection, alive.where(_pending)) or _all(connection, last)


def _settled(candidates: list[Challenge], attempt: Attempt, now: datetime) -> Answer:
    """The answer where no code is looked at any more."""
    verdicts = [(standing(each, attempt.name, now) or Verdict.INVALID_CODE, each) for each in candidates]
    if not verdicts:
        return Answer(Verdict.NO_CHALLENGE)
    accepted = [each for verdict, each in verdicts if verdict is Verdict.ACCEPTED]
    if accepted:
        return Answer(Verdict.ACCEPTED, tuple(accepted))
    return Answer(verdicts[0][0], tuple(candidates))


def _accept(connection: Connection, challenge: Challenge, attempt: Attempt, approval: Approval) -> bool:
    """The one UPDATE that accepts. It takes a try as well: a right code after five wrong ones finds no row."""
    accepted = update(challenges).where(
        challenges.c.id == challenge.id,
        _pending,
        challenges.c.expires_at > approval.accepted_at,
        challenges.c.tries < MAX_TRIES,
    )
    values = {"accepted_at": approval.accepted_at, "fingerprint": approval.fingerprint, "key_type": approval.key_type}
    result = connection.execute(
        accepted.values(
            state=State.ACCEPTED,
            tries=challenges.c.tries + 1,
            attempt=attempt.name,
            client_ip=approval.client_ip,
            **values,
        )
    )
    return result.rowcount == 1


def _count_wrong(connection: Connection, challenge: Challenge, attempt: Attempt, now: datetime) -> bool:
    """Take a try, and with the fifth reject. The answer is given only after a row was found: five answers, no more."""
    counted = update(challenges).where(
        challenges.c.id == challenge.id,
        _pending,
        challenges.c.expires_at > now,
        challenges.c.tries < MAX_TRIES,
        or_(challenges.c.attempt.is_(None), challenges.c.attempt != attempt.name) if attempt.name else _pending,
    )
    state = case((challenges.c.tries + 1 >= MAX_TRIES, State.REJECTED), else_=challenges.c.state)
    result = connection.execute(counted.values(tries=challenges.c.tries + 1, attempt=attempt.name, state=state))
    return result.rowcount == 1


def _step(connection: Connection, identifier: str, state: State, now: datetime) -> bool:
    pending = update(challenges).where(challenges.c.id == identifier, _pending, challenges.c.expires_at > now)
    return connection.execute(pending.values(state=state)).rowcount == 1


def _sweep(connection: Connection, now: datetime) -> None:
    """Write down what time has decided, and forget what nobody asks after any more."""
    over = update(challenges).where(_pending, challenges.c.expires_at <= now)
    connection.execute(over.values(state=State.EXPIRED))
    connection.execute(delete(challenges).where(challenges.c.created_at <= now - KEPT))


def _key_type(connection: Connection, attempt: Attempt) -> str | None:
    """The type of the user's registered key, whatever the agent called it: amr is our own statement."""
    query = select(ssh_keys.c.type).where(
        ssh_keys.c.fingerprint == (attempt.fingerprint or ""), ssh_keys.c.user_name == attempt.user
    )
    return connection.scalar(query)


def _of(user: str) -> Select[Any]:
    return select(challenges).where(challenges.c.user_name == user).order_by(challenges.c.created_at)


def _again(connection: Connection, those: Iterable[Challenge]) -> list[Challenge]:
    query = select(challenges).where(challenges.c.id.in_([each.id for each in those]))
    return _all(connection, query.order_by(challenges.c.created_at))


def _all(connection: Connection, query: Select[Any]) -> list[Challenge]:
    return [_challenge(row) for row in connection.execute(query)]


def _columns(challenge: Challenge) -> dict[str, Any]:
    return {
        "id": challenge.id,
        "user_name": challenge.user,
        "client_id": challenge.client,
        "state": challenge.state,
        "tries": challenge.tries,
        "code_hmac": challenge.code_hmac,
        "app": challenge.context.app,
        "ip": challenge.context.ip,
        "user_agent": challenge.context.user_agent,
        "created_at": challenge.created_at,
        "expires_at": challenge.expires_at,
    }


def _challenge(row: Row[Any]) -> Challenge:
    approval = row.accepted_at and Approval(row.accepted_at, row.fingerprint, row.key_type, row.client_ip)
    return Challenge(
        id=row.id,
        user=row.user_name,
        client=row.client_id,
        context=Context(row.app, row.ip, row.user_agent),
        created_at=row.created_at,
        expires_at=row.expires_at,
        state=State(row.state),
        tries=row.tries,
        attempt=row.attempt,
        code_hmac=row.code_hmac,
        approval=approval,
    )
