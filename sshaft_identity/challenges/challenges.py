"""Opens, finds, lists and ends challenges in the database. `challenge` decides what may happen to a challenge."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, case, insert, or_, select, update

from sshaft.addresses import source_of
from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.challenges import limits, listing, rows
from sshaft_identity.challenges.attempts import Answer, Attempt, Judge, Rules
from sshaft_identity.challenges.challenge import RESULT_GRACE, Binding, Challenge, Context, State, Verdict
from sshaft_identity.challenges.codes import ANONYMOUS_DIGITS, DIGITS, Codes, is_code, is_long
from sshaft_identity.challenges.endings import Ending, ending_of
from sshaft_identity.challenges.events import record_challenge
from sshaft_identity.challenges.listing import ListedKey
from sshaft_identity.common.digests import digest, new_page_token
from sshaft_identity.database import pages
from sshaft_identity.database.database import Database
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import challenges

RETENTION = timedelta(days=7)
"""A challenge is deleted this long after its opening."""

_MAX_WITHOUT_ADDRESS = 5
"""The most pending `code_back` challenges for the same user and client if nobody knows the address of the browser. A
provider may begin such logins for strangers too. So several must be able to wait; elsewhere one for each address."""
_MAX_OF_CLIENT = 20
"""The most pending challenges for the same user and client, whatever their addresses are."""

_PENDING_OF_USER = Prepared(rows.of_user.where(rows.is_pending))
_is_hinted = (challenges.c.hint == bindparam("user")) & challenges.c.user_name.is_(None)
_is_named = challenges.c.id == bindparam("challenge")
_is_opened_by = challenges.c.client_id.is_not_distinct_from(bindparam("client"))
_update = update(challenges).returning(challenges)


@dataclass(frozen=True, slots=True)
class Wish:
    """The wanted properties of a new challenge. Without a user the binding is `code_in`: any user may bring the code.

    `user` needs a client that has authenticated. An unauthenticated request names its user as `hint`: only this user
    may bring the code, but the challenge is not listed for that user and ends no other challenge.
    `found_by_code`: a `code_back` challenge whose client asks for the owner of a code, see `of_printed`.
    `code`: a code that the client chose and shows itself, see `codes.is_code`.
    """

    user: str | None
    lifetime: timedelta
    hint: str | None = None
    client: str | None = None
    context: Context = field(default_factory=Context)
    binding: Binding = Binding.CODE_IN
    verify_required: bool = False
    found_by_code: bool = False
    code: str | None = field(default=None, repr=False)


def attempts_of(user: str | None) -> str:
    """Returns the name by which a transaction is alone with the attempts of the user."""
    return f"attempts of {user}"


@dataclass(frozen=True, slots=True)
class Opened:
    """A new challenge, its code and page token, which are not stored, and the challenges that it replaced.

    `is_known`: there is a user of that name. Whoever begins the login must not learn this.
    """

    challenge: Challenge
    code: str
    page_token: str
    superseded: tuple[Challenge, ...]
    is_known: bool


class Challenges:
    def __init__(self, database: Database, codes: Codes, rules: Rules) -> None:
        self._database = database
        self._codes = codes
        self.rules = rules

    def unlock(self, user: str, now: datetime, **facts: Fact) -> bool:
        """Forgets the user's wrong codes. Returns whether there were any. `facts` go to the audit log."""
        with self._database.write() as connection:
            done = limits.forget(connection, limits.Scope.USER, user)
            if done:
                record_event(connection, "user.unlocked", now, user=user, **facts)
        return done

    def locked_until(self, user: str, now: datetime) -> datetime | None:
        """Returns until when no code of the user is checked; None: codes are checked."""
        with self._database.read() as connection:
            return limits.user_locked_until(connection, user, self.rules.limits, now)

    def open(self, wish: Wish, now: datetime) -> Opened:
        """Opens a challenge, also for an unknown user.

        A login that is begun again takes the place of the older one: see `_superseded`.
        """
        with self._database.write(alone=f"codes of {wish.user}") as connection:
            return self._open(connection, wish, now)

    _INSERT = Prepared(insert(challenges))

    def _open(self, connection: Connection, wish: Wish, now: datetime) -> Opened:
        pending = [] if wish.user is None else rows.read_all(connection, _PENDING_OF_USER, user=wish.user)
        old = _superseded(wish, pending, now)
        superseded = [ended for each in old for ended in self._supersede(connection, each, now)]
        page_token, code = self._fresh_code(connection, wish, [each for each in pending if each not in old])
        identifier, index = self._fresh_identifier(connection, wish)
        challenge = Challenge(
            id=identifier,
            user=wish.user,
            hint=wish.hint,
            client=wish.client,
            context=wish.context,
            created_at=now,
            expires_at=now + wish.lifetime,
            binding=wish.binding,
            verify_required=wish.verify_required,
            code_hmac=self._codes.code_hmac(identifier, code),
            code_index=self._codes.index(code) if wish.user is None else index,
        )
        self._INSERT.all(connection, rows.columns(challenge) | {"page_hash": digest(page_token)})
        user_id = record_challenge(connection, "challenge.created", challenge, now, binding=wish.binding)
        return Opened(challenge, code, page_token, tuple(superseded), user_id is not None)

    def _fresh_identifier(self, connection: Connection, wish: Wish) -> tuple[str, str | None]:
        """Returns an identifier, and the index of the code that ssh will print, if that code alone is to be found."""
        while True:
            identifier = secrets.token_hex(16)
            if not wish.found_by_code:
                return identifier, None
            code = self._codes.given_back(identifier, ANONYMOUS_DIGITS)
            if not self._is_taken(connection, code, []):
                return identifier, self._codes.index(code)

    _ended = case((challenges.c.expires_at <= bindparam("now"), State.EXPIRED), else_=State.CANCELLED)
    _SUPERSEDE = Prepared(_update.where(_is_named, rows.is_pending).values(state=_ended))

    def _supersede(self, connection: Connection, old: Challenge, now: datetime) -> list[Challenge]:
        """Ends a pending challenge. Returns it, or nothing if it is no longer pending."""
        done = rows.read_all(connection, self._SUPERSEDE, challenge=old.id, now=now)
        for each in done:
            if each.state is State.CANCELLED:
                record_challenge(connection, "challenge.cancelled", each, now, reason="superseded")
            else:
                record_challenge(connection, "challenge.expired", each, now)
        return done

    def _fresh_code(self, connection: Connection, wish: Wish, others: Sequence[Challenge]) -> tuple[str, str]:
        """Returns a page token and a code. A code of the service is new; one that the client chose may be taken.

        A client does not learn whether its chosen code is taken: that would tell it the code of another client. A code
        that belongs to two logins passes none of them.
        """
        if wish.code is not None:
            if wish.user is None or not is_code(wish.code):
                raise ValueError("only a well-formed code can be chosen, and only with a user")
            return new_page_token(), wish.code
        while True:
            page_token = new_page_token()
            code = self._codes.of_page(page_token, ANONYMOUS_DIGITS if wish.user is None else DIGITS)
            if not self._is_taken(connection, code, others):
                return page_token, code

    def _is_taken(self, connection: Connection, code: str, others: Sequence[Challenge]) -> bool:
        """Whether one of `others`, or a pending challenge without a user, has the code."""
        if is_long(code) and rows.read_all(connection, self._FIND_BY_CODE, index=self._codes.index(code)):
            return True
        return any(self._codes.matches(other.id, code, other.code_hmac) for other in others)

    _FIND_BY_CODE = Prepared(rows.of_code)

    def code_of(self, challenge: Challenge, page_token: str) -> str | None:
        """Returns the code that the page of the challenge shows, or None."""
        if challenge.binding is not Binding.CODE_IN:
            return None
        return self._codes.of_page(page_token, challenge.digits)

    def get(self, identifier: str) -> Challenge | None:
        with self._database.read() as connection:
            return rows.read(connection, identifier)

    _FIND_BY_PAGE = Prepared(select(challenges).where(challenges.c.page_hash == bindparam("page")))

    def of_page(self, page_token: str) -> Challenge | None:
        with self._database.read() as connection:
            return next(iter(rows.read_all(connection, self._FIND_BY_PAGE, page=digest(page_token))), None)

    def pending(self, user: str, client: str) -> list[Challenge]:
        """Returns the pending challenges of this client for this user. Their time may be over."""
        with self._database.read() as connection:
            return [each for each in rows.read_all(connection, _PENDING_OF_USER, user=user) if each.client == client]

    def recent(self) -> list[Challenge]:
        """Returns all challenges that are kept (`RETENTION`), the newest first."""
        return list(self.each_recent())

    def each_recent(self) -> Iterator[Challenge]:
        """Returns the same page by page, for lists of any length."""
        order = challenges.c.created_at, challenges.c.id
        found = pages.rows(self._database, select(challenges), *order, newest_first=True)
        return map(rows.challenge_of, found)

    def listed(self, now: datetime, fingerprints: Sequence[str] = ()) -> list[ListedKey]:
        """Lists keys for sshd, see `listing.listed`."""
        with self._database.read() as connection:
            return listing.listed(connection, now, fingerprints)

    def accept(self, attempt: Attempt, now: datetime) -> Answer:
        """Judges one SSH login, see `Judge.accept`."""
        with self._attempts_of(attempt.user) as connection:
            return Judge(connection, self._codes, self.rules, now).accept(attempt)

    def verify(self, meant: Sequence[Challenge], code: str, name: str | None, now: datetime) -> Answer:
        """Judges a code for `code_back` challenges of one user, see `Judge.verify`."""
        with self._attempts_of(next((each.user for each in meant), None)) as connection:
            return Judge(connection, self._codes, self.rules, now).verify([each.id for each in meant], code, name)

    _FIND_PRESENTED = Prepared(
        rows.of_code.where(
            rows.is_running, challenges.c.client_id == bindparam("client"), challenges.c.presented_at.is_not(None)
        )
    )

    def of_printed(self, code: str, client: str, most: int, now: datetime) -> Answer:
        """Finds the challenge of this client (`found_by_code`) for which ssh has shown this code. Takes no try.

        Nobody is named, so wrong codes count for the client. After `most` wrong codes in an hour no code is checked.
        """
        counted = limits.subjects(clients=[client])
        with self._database.write(alone=f"codes of the client {client}") as connection:
            if until := limits.locked_until(connection, counted, limits.Limits(client=most), now):
                return Answer(Verdict.TOO_MANY_ATTEMPTS, retry_at=until)
            index = self._codes.index(code)
            found = rows.read_all(connection, self._FIND_PRESENTED, index=index, client=client, now=now)
            if found:
                return Answer(Verdict.PRESENTED, tuple(found))
            limits.count(connection, counted, now)
            return Answer(Verdict.INVALID_CODE)

    def _attempts_of(self, user: str | None) -> AbstractContextManager[Connection]:
        """Begins a transaction that no other attempt of the user shares: each attempt sees what the last one counted.

        Without this lock, two attempts could also wait for each other's rows forever.
        """
        return self._database.write(alone=attempts_of(user))

    _FIND_REJECTED = Prepared(
        rows.named.where(
            or_(challenges.c.user_name == bindparam("user"), _is_hinted), challenges.c.state == State.REJECTED
        )
    )

    _FIND_HINTED = Prepared(select(challenges).where(rows.is_running, _is_hinted))

    def reject(self, attempt: Attempt, now: datetime) -> Answer:
        """Rejects the challenge that the attempt names, or all of the user and all with the user as hint.

        To reject a challenge again succeeds.
        """
        with self._database.write() as connection:
            of_user = rows.read_all(connection, rows.RUNNING_OF_USER, user=attempt.user, now=now)
            hinted = rows.read_all(connection, self._FIND_HINTED, user=attempt.user, now=now)
            pending = [each for each in of_user + hinted if attempt.challenge in (None, each.id)]
            done = [rejected for each in pending for rejected in rows.end(connection, each.id, State.REJECTED, now)]
            facts = {"fingerprint": attempt.fingerprint, "ssh_address": attempt.client_ip, "reason": "denied"}
            for each in done:
                record_challenge(connection, "challenge.rejected", each, now, **facts)
            if not done:
                done = rows.read_all(connection, self._FIND_REJECTED, challenge=attempt.challenge, user=attempt.user)
            return Answer(Verdict.REJECTED if done else Verdict.NO_CHALLENGE, tuple(done))

    def cancel(self, identifier: str, now: datetime, **facts: Fact) -> Challenge | None:
        """Cancels a running challenge. Returns it, or None if it was not running. `facts` are for the audit log."""
        with self._database.write() as connection:
            done = rows.end(connection, identifier, State.CANCELLED, now)
            for each in done:
                record_challenge(connection, "challenge.cancelled", each, now, **facts)
        return next(iter(done), None)

    def deny(self, identifier: str, now: datetime, **facts: Fact) -> Challenge | None:
        """Rejects a running challenge for the person in the browser. Returns it, or None if it was not running."""
        with self._database.write() as connection:
            done = rows.end(connection, identifier, State.REJECTED, now)
            for each in done:
                record_challenge(connection, "challenge.rejected", each, now, **facts)
        return next(iter(done), None)

    def ending(self, challenge: Challenge, user: str, now: datetime) -> Ending | None:
        """Returns how a challenge of this user ended, see `endings.ending_of`. None for one of another user."""
        if challenge.user != user:
            return None
        with self._database.read() as connection:
            return ending_of(connection, challenge, now)

    def consume(self, identifier: str, now: datetime, client: str | None = None) -> Challenge | None:
        """Consumes an accepted challenge, once, for the client that opened it. Returns it, or None.

        The result ends with the login, or `RESULT_GRACE` later.
        """
        with self._database.write() as connection:
            return consume(connection, identifier, now, client)

    _MARK_SHOWN = Prepared(_update.where(_is_named, challenges.c.shown_at.is_(None)).values(shown_at=bindparam("now")))

    def show(self, challenge: Challenge, now: datetime, address: str | None) -> None:
        """Records when and from where the page of the challenge was first shown."""
        with self._database.write() as connection:
            for each in rows.read_all(connection, self._MARK_SHOWN, challenge=challenge.id, now=now):
                record_challenge(connection, "challenge.shown", each, now, page_address=address)


def _superseded(wish: Wish, pending: Sequence[Challenge], now: datetime) -> list[Challenge]:
    """Returns the challenges that a new one ends, of those that are pending for its user.

    These are the ones of the client whose time is over, the oldest ones from the same address if there would be more
    than are allowed, and the oldest ones from anywhere if there would be more than `_MAX_OF_CLIENT`. So a stranger at
    another address does not end the login of a person.
    """
    of_client = [each for each in pending if each.client == wish.client]
    over = [each for each in of_client if each.state_at(now) is not State.PENDING]
    waiting = [each for each in of_client if each not in over]
    alike = [each for each in waiting if _source(each.context) == _source(wish.context)]
    is_unclear = wish.binding is Binding.CODE_BACK and wish.context.ip is None
    oldest_alike = alike[: max(0, len(alike) + 1 - (_MAX_WITHOUT_ADDRESS if is_unclear else 1))]
    others = [each for each in waiting if each not in oldest_alike]
    return over + oldest_alike + others[: max(0, len(others) + 1 - _MAX_OF_CLIENT)]


def _source(context: Context) -> str:
    return source_of(context.ip or "")


_is_in_time = challenges.c.expires_at > bindparam("expires_after")
_is_accepted = (challenges.c.state == State.ACCEPTED) & _is_in_time
_CONSUME = Prepared(_update.where(_is_named, _is_opened_by, _is_accepted).values(state=State.CONSUMED))


def consume(connection: Connection, identifier: str, now: datetime, client: str | None) -> Challenge | None:
    """Consumes an accepted challenge in this transaction, see `Challenges.consume`."""
    values = {"challenge": identifier, "client": client, "expires_after": now - RESULT_GRACE}
    done = rows.read_all(connection, _CONSUME, **values)
    for each in done:
        record_challenge(connection, "challenge.consumed", each, now)
    return next(iter(done), None)
