"""Challenges in the database: opened, looked up, listed, and taken to their end. What may happen to one is said by
`challenge`.
"""

import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, insert, not_, select, update

from sshaft.public_key import PublicKey
from sshaft_identity.challenges import limits
from sshaft_identity.challenges.attempts import Answer, Attempt, Judge, Rules
from sshaft_identity.challenges.challenge import Binding, Challenge, Context, State, Verdict
from sshaft_identity.challenges.codes import ANONYMOUS_DIGITS, DIGITS, Codes, is_code
from sshaft_identity.challenges.events import record_challenge
from sshaft_identity.challenges.rows import (
    RUNNING_OF_USER,
    challenge_of,
    columns,
    is_pending,
    is_running,
    is_unsettled,
    named,
    of_code,
    of_user,
    read,
    read_all,
    step,
    waits_for_anybody,
)
from sshaft_identity.common.digests import digest, new_page_token
from sshaft_identity.database.database import Database
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import challenges, ssh_keys
from sshaft_identity.people.registration import is_usable

RETENTION = timedelta(days=7)
"""Challenges are deleted this long after their opening."""

_OF_PAGE = Prepared(select(challenges).where(challenges.c.page_hash == bindparam("page")))
_NEWEST_FIRST = Prepared(select(challenges).order_by(challenges.c.created_at.desc()))
_PENDING_OF_USER = Prepared(of_user.where(is_pending))
_OF_CODE = Prepared(of_code)
_is_printed = (challenges.c.client_id == bindparam("client")) & challenges.c.presented_at.is_not(None)
_PRINTED = Prepared(select(challenges).where(is_unsettled, is_running, _is_printed))
_REJECTED = Prepared(named.where(challenges.c.user_name == bindparam("user"), challenges.c.state == State.REJECTED))
_is_opened_by = challenges.c.client_id.is_not_distinct_from(bindparam("client"))
_update = update(challenges).returning(challenges)
_is_it = challenges.c.id == bindparam("challenge")
_take = _update.where(_is_it, challenges.c.state == State.ACCEPTED, _is_opened_by)
_TAKE = Prepared(_take.values(state=State.CONSUMED))
_SHOW = Prepared(_update.where(_is_it, challenges.c.shown_at.is_(None)).values(shown_at=bindparam("now")))
_to_supersede = _update.where(is_pending, challenges.c.user_name == bindparam("user"), _is_opened_by)
_ended = case((challenges.c.expires_at <= bindparam("now"), State.EXPIRED), else_=State.CANCELLED)
_SUPERSEDE = Prepared(_to_supersede.values(state=_ended))

_owner = (ssh_keys.c.user_name.label("owner"), ssh_keys.c.type, ssh_keys.c.blob)
# A key that cannot prove what a challenge requires is not listed for it.
_is_able = not_(challenges.c.verify_required) | ssh_keys.c.type.like("sk-%")
_is_theirs = (challenges.c.user_name == ssh_keys.c.user_name) & is_running & _is_able
_in_order = (ssh_keys.c.user_name, challenges.c.created_at)
_all = select(*_owner, challenges).select_from(challenges.join(ssh_keys, _is_theirs))
_LIST_ALL = Prepared(_all.where(is_unsettled, is_usable).order_by(*_in_order))
_key = select(*_owner, challenges, waits_for_anybody.label("anonymous"))
_key = _key.select_from(ssh_keys.outerjoin(challenges, _is_theirs)).order_by(*_in_order)
_LIST_KEY = Prepared(_key.where(ssh_keys.c.fingerprint == bindparam("key0"), is_usable))
MAX_LISTED_KEYS = 50
"""The most fingerprints in one question. The URL of a question must stay below the limit of proxies (4 KiB)."""
_asked: list[ColumnElement[str]] = [bindparam(f"key{n}") for n in range(MAX_LISTED_KEYS)]
_LIST_KEYS = Prepared(_key.where(ssh_keys.c.fingerprint.in_(_asked), is_usable))
_INSERT = Prepared(insert(challenges))


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a new challenge. Without a user it is `code_in`: the code alone says whose key may bring it.
    `code`: one that the client has chosen and shows itself, see `codes.is_code`.
    """

    user: str | None
    lifetime: timedelta
    client: str | None = None
    context: Context = field(default_factory=Context)
    binding: Binding = Binding.CODE_IN
    verify_required: bool = False
    code: str | None = field(default=None, repr=False)


class CodeTakenError(Exception):
    """The code that the client chose cannot be told from that of another challenge."""


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

    user: str
    key: PublicKey
    challenge: Challenge | None
    anonymous: bool = False


class Challenges:
    def __init__(self, database: Database, codes: Codes, rules: Rules) -> None:
        self._database = database
        self._codes = codes
        self.rules = rules

    def unlock(self, user: str) -> bool:
        """Forgets the user's wrong codes. Returns whether there were any."""
        with self._database.write() as connection:
            return limits.forget(connection, limits.Scope.USER, user)

    def open(self, wish: Wish, now: datetime) -> Opened:
        """A new pending challenge, whether or not there is such a user. The pending one that the same client had opened
        for the same user is cancelled. Raises `CodeTakenError`.
        """
        with self._database.write(alone=f"codes of {wish.user}") as connection:
            return self._open(connection, wish, now)

    def _open(self, connection: Connection, wish: Wish, now: datetime) -> Opened:
        pending = [] if wish.user is None else read_all(connection, _PENDING_OF_USER, user=wish.user)
        others = [each for each in pending if each.client != wish.client and each.expires_at > now]
        superseded = _supersede(connection, wish, now) if len(pending) > len(others) else []
        page_token, code = self._fresh_code(connection, wish, others)
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
            code_hmac=self._codes.code_hmac(identifier, code),
            code_index=self._codes.index(code) if wish.user is None else None,
        )
        _INSERT.all(connection, columns(challenge) | {"page_hash": digest(page_token)})
        record_challenge(connection, "challenge.created", challenge, now, binding=wish.binding)
        return Opened(challenge, code, page_token, tuple(superseded))

    def _fresh_code(self, connection: Connection, wish: Wish, others: Sequence[Challenge]) -> tuple[str, str]:
        """A page token and its code, which nothing pending has that the code would have to be told from."""
        if wish.code is not None:
            if wish.user is None or not is_code(wish.code):
                raise ValueError("a client chooses a well-formed code, and for somebody whom it names")
            if self._is_taken(connection, wish.code, others):
                raise CodeTakenError
            return new_page_token(), wish.code
        while True:
            page_token = new_page_token()
            code = self._codes.of_page(page_token, ANONYMOUS_DIGITS if wish.user is None else DIGITS)
            if not self._is_taken(connection, code, others):
                return page_token, code

    def _is_taken(self, connection: Connection, code: str, others: Sequence[Challenge]) -> bool:
        """By one of `others`, or by one that names nobody: a code of that length is looked for there first."""
        if len(code) == ANONYMOUS_DIGITS and read_all(connection, _OF_CODE, index=self._codes.index(code)):
            return True
        return any(self._codes.matches(other.id, code, other.code_hmac) for other in others)

    def code_of(self, challenge: Challenge, page_token: str) -> str | None:
        """The code that the challenge's page shows, if it shows one."""
        if challenge.binding is not Binding.CODE_IN:
            return None
        return self._codes.of_page(page_token, ANONYMOUS_DIGITS if challenge.is_anonymous else DIGITS)

    def get(self, identifier: str) -> Challenge | None:
        with self._database.read() as connection:
            return read(connection, identifier)

    def of_page(self, page_token: str) -> Challenge | None:
        with self._database.read() as connection:
            return next(iter(read_all(connection, _OF_PAGE, page=digest(page_token))), None)

    def pending(self, user: str, client: str) -> list[Challenge]:
        """Those that this client has opened for this user; their time may be over."""
        with self._database.read() as connection:
            return [each for each in read_all(connection, _PENDING_OF_USER, user=user) if each.client == client]

    def recent(self) -> list[Challenge]:
        """All that are kept, the newest first."""
        with self._database.read() as connection:
            return read_all(connection, _NEWEST_FIRST)

    def listed(self, now: datetime, fingerprints: Sequence[str] = ()) -> list[ListedKey]:
        """Returns the keys of users with pending challenges, an entry for each pair of key and challenge.

        With `fingerprints`, at most MAX_LISTED_KEYS: returns these registered keys, pending or not. Only then do
        challenges that name no user count.
        """
        query = (_LIST_KEY if len(fingerprints) == 1 else _LIST_KEYS) if fingerprints else _LIST_ALL
        padded = [*fingerprints, *("" for _ in range(MAX_LISTED_KEYS - len(fingerprints)))]
        with self._database.read() as connection:
            rows = query.all(connection, {"now": now, **{f"key{n}": key for n, key in enumerate(padded)}})
        listed = [_listed(row) for row in rows]
        if not fingerprints or not rows or not rows[0].anonymous:
            return listed
        theirs = {each.key: ListedKey(each.user, each.key, None, anonymous=True) for each in listed}
        return [each for each in listed if each.challenge] + list(theirs.values())

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

    def of_printed(self, code: str, client: str, most: int, now: datetime) -> Answer:
        """The challenge of this client for which ssh has printed this code: `presented`, and nothing is taken. Wrong
        ones are counted for the client; after `most` in an hour nothing is looked for any more.
        """
        counted = limits.subjects(clients=[client])
        with self._database.write(alone=f"codes of the client {client}") as connection:
            if until := limits.locked_until(connection, counted, limits.Limits(client=most), now):
                return Answer(Verdict.TOO_MANY_ATTEMPTS, retry_at=until)
            printed = read_all(connection, _PRINTED, client=client, now=now)
            found = [each for each in printed if self._codes.matches_given_back(each.id, code)]
            if len(found) == 1:  # two people may have one code, and neither is to pass as the other
                return Answer(Verdict.PRESENTED, tuple(found))
            limits.count(connection, counted, now)
            return Answer(Verdict.INVALID_CODE)

    def _attempts_of(self, user: str | None) -> AbstractContextManager[Connection]:
        """One attempt of a user after the other: each looks at what the one before has counted, and two that hold one
        another's rows would wait for ever.
        """
        return self._database.write(alone=f"attempts of {user}")

    def reject(self, attempt: Attempt, now: datetime) -> Answer:
        """Reject one pending challenge of the user, or all. One that was rejected before is answered alike."""
        with self._database.write() as connection:
            pending = [
                each
                for each in read_all(connection, RUNNING_OF_USER, user=attempt.user, now=now)
                if attempt.challenge in (None, each.id)
            ]
            done = [each for one in pending for each in step(connection, one.id, State.REJECTED, now)]
            facts = {"fingerprint": attempt.fingerprint, "ssh_address": attempt.client_ip, "reason": "denied"}
            for each in done:
                record_challenge(connection, "challenge.rejected", each, now, **facts)
            if attempt.challenge is not None and not done:
                done = read_all(connection, _REJECTED, challenge=attempt.challenge, user=attempt.user)
            return Answer(Verdict.REJECTED if done else Verdict.NO_CHALLENGE, tuple(done))

    def cancel(self, identifier: str, now: datetime) -> Challenge | None:
        """The challenge as it is then, if it was pending."""
        with self._database.write() as connection:
            done = step(connection, identifier, State.CANCELLED, now)
            for each in done:
                record_challenge(connection, "challenge.cancelled", each, now)
        return next(iter(done), None)

    def consume(self, identifier: str, now: datetime, client: str | None = None) -> Challenge | None:
        """The challenge as it is then: once, for who opened it, if it was accepted."""
        with self._database.write() as connection:
            done = read_all(connection, _TAKE, challenge=identifier, client=client)
            for each in done:
                record_challenge(connection, "challenge.consumed", each, now)
        return next(iter(done), None)

    def show(self, challenge: Challenge, now: datetime, address: str | None) -> None:
        """Write down that its page was looked at for the first time, and from where."""
        with self._database.write() as connection:
            for each in read_all(connection, _SHOW, challenge=challenge.id, now=now):
                record_challenge(connection, "challenge.shown", each, now, page_address=address)


def _supersede(connection: Connection, wish: Wish, now: datetime) -> list[Challenge]:
    """One pending challenge for a user and client: a person has one page open, and one code that counts."""
    done = read_all(connection, _SUPERSEDE, user=wish.user, client=wish.client, now=now)
    for each in done:
        if each.state is State.CANCELLED:
            record_challenge(connection, "challenge.cancelled", each, now, reason="superseded")
        else:
            record_challenge(connection, "challenge.expired", each, now)
    return done


def _listed(row: Any) -> ListedKey:
    return ListedKey(row.owner, PublicKey(row.type, row.blob), None if row.id is None else challenge_of(row))
