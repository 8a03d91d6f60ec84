"""Challenges in the database: opened, looked up, listed, and taken to their end. What may happen to one is said by
`challenge`.
"""

import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, insert, not_, select, update

from sshaft_identity import audit
from sshaft_identity.attempts import Answer, Attempt, Judge, Rules
from sshaft_identity.challenge import Binding, Challenge, Context, State, Verdict
from sshaft_identity.challenge_rows import (
    changed,
    columns,
    is_pending,
    named,
    of_code,
    of_user,
    read_all,
    step,
    waits_for_anybody,
)
from sshaft_identity.codes import ANONYMOUS_DIGITS, DIGITS, Codes, digest, new_page_token
from sshaft_identity.database import Database
from sshaft_identity.enrolment import RegisteredKey, registered_key
from sshaft_identity.registration import is_usable
from sshaft_identity.tables import challenges, ssh_keys

KEPT = timedelta(days=7)
"""How long a challenge can be asked after, from its opening."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a new challenge. Without a user it is `code_in`: the code alone says whose key may bring it."""

    user: str | None
    lifetime: timedelta
    client: str | None = None
    context: Context = field(default_factory=Context)
    binding: Binding = Binding.CODE_IN
    verify_required: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A new challenge with what exists only now: its code and its page's token. `superseded` are those it took the
    place of.
    """

    challenge: Challenge
    code: str
    page_token: str
    superseded: tuple[Challenge, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A registered key and one pending challenge of its owner, if there is one; `anonymous`: it may bring the code of a
    challenge that names nobody.
    """

    key: RegisteredKey
    challenge: Challenge | None
    anonymous: bool = False


class Challenges:
    def __init__(self, database: Database, codes: Codes, rules: Rules) -> None:
        self._database = database
        self._codes = codes
        self.rules = rules

    def open(self, wish: Wish, now: datetime) -> Opened:
        """A new pending challenge, whether or not there is such a user. The pending one that the same client had opened
        for the same user is cancelled.
        """
        with self._database.write(alone=f"codes of {wish.user}") as connection:
            return self._open(connection, wish, now)

    def _open(self, connection: Connection, wish: Wish, now: datetime) -> Opened:
        superseded = _supersede(connection, wish, now) if wish.user is not None else []
        page_token, code = self._fresh_code(connection, wish, now)
        identifier = secrets.token_hex(16)
        challenge = Challenge(
            id=identifier,
            user=wish.user,
            client=wish.client,
            context=wish.context,
            created_at=now,
            expires_at=now + wish.lifetime,
            binding=wish.binding,
            verify_required=wish.verify_required,
            code_hmac=self._codes.sealed(identifier, code),
            code_index=self._codes.index(code) if wish.user is None else None,
        )
        connection.execute(insert(challenges).values(page_hash=digest(page_token), **columns(challenge)))
        audit.record_challenge(connection, "challenge.created", challenge, now, binding=wish.binding)
        return Opened(challenge, code, page_token, tuple(superseded))

    def _fresh_code(self, connection: Connection, wish: Wish, now: datetime) -> tuple[str, str]:
        """A page token and its code, which nothing pending has that the code would have to be told from."""
        running = is_pending & (challenges.c.expires_at > now)
        others = [] if wish.user is None else read_all(connection, of_user(wish.user).where(running))
        while True:
            page_token = new_page_token()
            code = self._codes.of_page(page_token, ANONYMOUS_DIGITS if wish.user is None else DIGITS)
            if wish.user is None:
                taken = bool(read_all(connection, of_code(self._codes.index(code))))
            else:
                taken = any(self._codes.matches(other.id, code, other.code_hmac) for other in others)
            if not taken:
                return page_token, code

    def code_of(self, challenge: Challenge, page_token: str) -> str | None:
        """The code that the challenge's page shows, if it shows one."""
        if challenge.binding is not Binding.CODE_IN:
            return None
        return self._codes.of_page(page_token, ANONYMOUS_DIGITS if challenge.is_anonymous else DIGITS)

    def get(self, identifier: str) -> Challenge | None:
        with self._database.read() as connection:
            return next(iter(read_all(connection, named(identifier))), None)

    def of_page(self, page_token: str) -> Challenge | None:
        query = select(challenges).where(challenges.c.page_hash == digest(page_token))
        with self._database.read() as connection:
            return next(iter(read_all(connection, query)), None)

    def recent(self) -> list[Challenge]:
        """All that are kept, the newest first."""
        with self._database.read() as connection:
            return read_all(connection, select(challenges).order_by(challenges.c.created_at.desc()))

    def listed(self, now: datetime, fingerprint: str | None = None) -> list[ListedKey]:
        """The keys of users with pending challenges, an entry for each pair; or one registered key, pending or not.

        A key that can't prove what a challenge requires is not listed for it. Challenges that name nobody are seen only
        by those who ask for one key.
        """
        able = not_(challenges.c.verify_required) | ssh_keys.c.type.like("sk-%")
        running = is_pending & (challenges.c.expires_at > now)
        alive = (challenges.c.user_name == ssh_keys.c.user_name) & running & able
        pairs = select(ssh_keys, challenges.c.id).where(is_usable(now))
        query = pairs.order_by(ssh_keys.c.user_name, challenges.c.created_at)
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
            anonymous = bool(rows) and fingerprint is not None and waits_for_anybody(connection, now)
        listed = [ListedKey(registered_key(row), by_id.get(row.id)) for row in rows]
        if not anonymous:
            return listed
        return [each for each in listed if each.challenge] + [ListedKey(listed[0].key, None, anonymous=True)]

    def accept(self, attempt: Attempt, now: datetime) -> Answer:
        """Judge one SSH login, see `attempts`."""
        with self._attempts_of(attempt.user) as connection:
            return Judge(connection, self._codes, self.rules, now).accept(attempt)

    def verify(self, identifier: str, code: str, name: str | None, now: datetime) -> Answer:
        """Judge the code of a `code_back` challenge, see `attempts`."""
        challenge = self.get(identifier)
        if challenge is None:
            return Answer(Verdict.NO_CHALLENGE)
        with self._attempts_of(challenge.user) as connection:
            return Judge(connection, self._codes, self.rules, now).verify(identifier, code, name)

    def _attempts_of(self, user: str | None) -> AbstractContextManager[Connection]:
        """One attempt of a user after the other: each looks at what the one before has counted, and two that hold one
        another's rows would wait for ever.
        """
        return self._database.write(alone=f"attempts of {user}")

    def reject(self, attempt: Attempt, now: datetime) -> Answer:
        """Reject one pending challenge of the user, or all. One that was rejected before is answered alike."""
        with self._database.write() as connection:
            query = of_user(attempt.user)
            if attempt.challenge is not None:
                query = query.where(challenges.c.id == attempt.challenge)
            pending = read_all(connection, query.where(is_pending, challenges.c.expires_at > now))
            done = [each for one in pending for each in step(connection, one.id, State.REJECTED, now)]
            facts = {"fingerprint": attempt.fingerprint, "ssh_address": attempt.client_ip, "reason": "denied"}
            for each in done:
                audit.record_challenge(connection, "challenge.rejected", each, now, **facts)
            if attempt.challenge is not None and not done:
                done = read_all(connection, query.where(challenges.c.state == State.REJECTED))
            return Answer(Verdict.REJECTED if done else Verdict.NO_CHALLENGE, tuple(done))

    def cancel(self, identifier: str, now: datetime) -> bool:
        """Whether it was pending and is cancelled now."""
        with self._database.write() as connection:
            done = step(connection, identifier, State.CANCELLED, now)
            for each in done:
                audit.record_challenge(connection, "challenge.cancelled", each, now)
            return bool(done)

    def consume(self, identifier: str, now: datetime) -> bool:
        """True once, for a challenge that was accepted."""
        taken = update(challenges).where(challenges.c.id == identifier, challenges.c.state == State.ACCEPTED)
        with self._database.write() as connection:
            done = changed(connection, taken.values(state=State.CONSUMED))
            for each in done:
                audit.record_challenge(connection, "challenge.consumed", each, now)
            return bool(done)

    def show(self, challenge: Challenge, now: datetime, address: str | None) -> None:
        """Write down that its page was looked at for the first time, and from where."""
        first = update(challenges).where(challenges.c.id == challenge.id, challenges.c.shown_at.is_(None))
        with self._database.write() as connection:
            for each in changed(connection, first.values(shown_at=now)):
                audit.record_challenge(connection, "challenge.shown", each, now, page_address=address)


def _supersede(connection: Connection, wish: Wish, now: datetime) -> list[Challenge]:
    """One pending challenge for a user and client: a person has one page open, and one code that counts."""
    theirs = (
        is_pending & (challenges.c.user_name == wish.user) & challenges.c.client_id.is_not_distinct_from(wish.client)
    )
    state = case((challenges.c.expires_at <= now, State.EXPIRED), else_=State.CANCELLED)
    done = changed(connection, update(challenges).where(theirs).values(state=state))
    for each in done:
        if each.state is State.CANCELLED:
            audit.record_challenge(connection, "challenge.cancelled", each, now, reason="superseded")
        else:
            audit.record_challenge(connection, "challenge.expired", each, now)
    return done
