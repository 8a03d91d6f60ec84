"""Stores enrolments: opened for a person, answered by a key, confirmed by the person on the enrolment page.

    open -> presented -> confirmed | refused        open, presented -> expired | cancelled

An enrolment that a person opened in a session by ssh needs one more SSH login, with a key that the person already has:
the approval. A stranger may have got the session by a sign-in code that the person brought for the stranger.

Two things keep out a stranger's key:

- The code has 8 digits. The code alone finds the enrolment, whoever presents it.
- A key that came with the code counts only after the person has confirmed its fingerprint on the page.

Wrong codes are counted by guesser. A wrong code belongs to no enrolment: if it counted against all of them, a stranger
could end everybody's enrolment. The limits within 15 minutes are 3 from one address (one /64 of IPv6) and 3 with one
key. Addresses and keys are cheap, so the limit for all guessers is 60. Above a limit, no code is looked at until the
window ends.

An enrolment lives for 15 minutes, so it overlaps two windows and meets at most 120 guesses: 120 / 10^8, one in 830,000.
If N enrolments are always open, a guesser who never rests hits one with 240 * N / 10^8 an hour. For N = 1 this is once
in 47 years. A hit shows the guesser's key to a person who did not present it, and "Not my key" ends it.

The right code with a key that is refused (another user's, or against the policy) counts against the enrolment. The
third refusal cancels the enrolment, so nobody can use an enrolment to ask about many keys.
"""

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, case, delete, func, insert, not_, select, update

from sshaft.addresses import source_of
from sshaft.public_key import PublicKey
from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.challenges import limits
from sshaft_identity.challenges.challenges import consume
from sshaft_identity.challenges.codes import ANONYMOUS_DIGITS, Codes
from sshaft_identity.challenges.limits import Limits, Scope, Subject
from sshaft_identity.common.digests import digest, new_page_token
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import latest_begin
from sshaft_identity.database.database import Database
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import enrolments
from sshaft_identity.enrolment.enrolment import Enrolment, OpenedEnrolment, Outcome, Presentation, State, Verdict
from sshaft_identity.people.key_policy import KeyPolicy, KeyRefusal
from sshaft_identity.people.keys import MAX_NAME
from sshaft_identity.people.registration import NewKey, lock_user, refusal_of, register
from sshaft_identity.people.sessions import Method, Session, is_alive

MIN_LIFETIME, MAX_LIFETIME = timedelta(seconds=60), timedelta(minutes=15)
_ATTEMPTS_WINDOW = timedelta(minutes=15)
_MAX_REFUSALS = 3
RETENTION = timedelta(days=7)
"""An enrolment is deleted this long after its opening."""


class Enrolments:
    """The enrolments of a database. A user has at most one that is open or presented.

    Each step is one conditional UPDATE, and its row count decides.
    """

    def __init__(self, database: Database, codes: Codes, most: Limits) -> None:
        self._database = database
        self._codes = codes
        self.limits = most

    def open(
        self,
        user: str,
        now: datetime,
        lifetime: timedelta = MAX_LIFETIME,
        invited_by: str | None = None,
        session: Session | None = None,
        *,
        inviter: str = "operator",
        **facts: Fact,
    ) -> OpenedEnrolment:
        """Opens an enrolment and cancels the user's last one. `session`: the person opens it there.

        The audit log gets `facts`, and who invites: the client `invited_by`, the person, or else `inviter`. `lifetime`
        is cut to `MIN_LIFETIME` and `MAX_LIFETIME`. Raises `RegistryError` if there is no such user, or the session
        has ended.
        """
        identifier, opened_in = secrets.token_hex(16), None if session is None else session.method
        with self._database.write(alone="enrolment") as connection:
            if not lock_user(connection, user):
                raise RegistryError(f"there is no user {user}: `sshaft identity user add {user}` makes one")
            if session is not None and not is_alive(connection, session):
                raise RegistryError("the session has ended")
            _sweep(connection, now)
            _cancel(connection, user, now, reason="superseded")
            page_token, code = self._fresh_code(connection)
            ends = now + min(max(lifetime, MIN_LIFETIME), MAX_LIFETIME)
            connection.execute(
                insert(enrolments).values(
                    id=identifier,
                    user_name=user,
                    state=State.OPEN,
                    tries=0,
                    code_index=self._index(code),
                    page_hash=digest(page_token),
                    invited_by=invited_by,
                    opened_in=opened_in,
                    created_at=now,
                    expires_at=ends,
                )
            )
            record_event(
                connection,
                "enrolment.opened",
                now,
                user=user,
                enrolment=identifier,
                invited_by=invited_by or (inviter if session is None else "person"),
                **facts,
            )
        opened = Enrolment(identifier, user, State.OPEN, invited_by, now, ends, opened_in=opened_in)
        return OpenedEnrolment(opened, code, page_token)

    def _fresh_code(self, connection: Connection) -> tuple[str, str]:
        while True:
            page_token = new_page_token()
            code = self.code_of(page_token)
            same = select(enrolments.c.id).where(is_waiting, enrolments.c.code_index == self._index(code))
            if connection.scalar(same) is None:
                return page_token, code

    def code_of(self, page_token: str) -> str:
        """Returns the code of the enrolment with this page, 8 digits."""
        return self._codes.of_page(page_token, ANONYMOUS_DIGITS)

    def _index(self, code: str) -> str:
        return self._codes.index(f"enrol {code}")

    def open_until(self, now: datetime) -> datetime | None:
        """Returns when the last of the open enrolments ends, or None if no enrolment is open."""
        with self._database.read() as connection:
            (found,) = _LATEST.all(connection, {"now": now, "latest": latest_begin(now)})
        ends: datetime | None = found.ends
        return ends

    def get(self, identifier: str) -> Enrolment | None:
        with self._database.read() as connection:
            return _one(connection, enrolments.c.id == identifier)

    def of_page(self, page_token: str) -> Enrolment | None:
        with self._database.read() as connection:
            return _one(connection, enrolments.c.page_hash == digest(page_token))

    def present(self, code: str, presentation: Presentation, now: datetime, policy: KeyPolicy) -> Outcome:
        """Presents a key that came over ssh with a code."""
        # alone: of two attempts at the same time, both must not find the count below its limit
        with self._database.write(alone="enrolment") as connection:
            if connection.scalar(select(enrolments.c.id).where(is_waiting, _is_in_time(now))) is None:
                return Outcome(Verdict.NONE)
            subjects = _counted_subjects(presentation)
            retry_at = limits.locked_until(connection, subjects, self.limits, now)
            if retry_at is not None:
                return Outcome(Verdict.TOO_MANY, retry_at=retry_at)
            found = _one(connection, is_waiting, _is_in_time(now), enrolments.c.code_index == self._index(code))
            if found is None:
                counts = limits.count(connection, subjects, now, _ATTEMPTS_WINDOW)
                self._record_wrong_code(connection, counts, presentation, now)
                return Outcome(Verdict.INVALID_CODE)
            return _present(connection, found, presentation, now, policy)

    def _record_wrong_code(
        self, connection: Connection, counts: list[limits.Count], presentation: Presentation, now: datetime
    ) -> None:
        record_event(connection, "enrolment.wrong_code", now, user=None, **_facts(presentation))
        if any(each.subject.scope is Scope.ENROL_ALL and each.times >= self.limits.enrol_all for each in counts):
            record_event(connection, "enrolment.locked", now, user=None, **_facts(presentation))

    def present_signed(self, page_token: str, presentation: Presentation, now: datetime, policy: KeyPolicy) -> Outcome:
        """Presents a key that has signed the text of this page."""
        with self._database.write(alone="enrolment") as connection:
            found = _one(connection, is_waiting, _is_in_time(now), enrolments.c.page_hash == digest(page_token))
            if found is None:
                return Outcome(Verdict.NONE)
            return _present(connection, found, presentation, now, policy)

    def confirm(
        self, page_token: str, fingerprint: str, now: datetime, policy: KeyPolicy, attested: str | None = None
    ) -> Outcome:
        """Registers the presented key, because the person says that the key is theirs.

        `fingerprint` is the one that the page showed; `attested` is what `attestation.verify` returned. The verdict
        `approval_required` says that an existing key must approve the new key first (`await_approval`, `approve`).
        """
        with self._database.write(alone="enrolment") as connection:
            mine = enrolments.c.page_hash == digest(page_token), enrolments.c.fingerprint == fingerprint
            found = _one(connection, *mine)
            if found is None:
                return Outcome(Verdict.NONE)
            if found.opened_in == Method.SSH:
                return Outcome(Verdict.APPROVAL_REQUIRED, found)
            return _confirm(connection, found, now, policy, attested=attested)

    def name_key(self, page_token: str, fingerprint: str, name: str, now: datetime) -> None:
        """Gives the presented key the name that the person has chosen for it. Does nothing for another key."""
        mine = enrolments.c.page_hash == digest(page_token), enrolments.c.fingerprint == fingerprint
        presented = update(enrolments).where(*mine, enrolments.c.state == State.PRESENTED, _is_in_time(now))
        with self._database.write(alone="enrolment") as connection:
            connection.execute(presented.values(name=name[:MAX_NAME]))

    def await_approval(
        self, enrolment: Enrolment, challenge: str, now: datetime, attested: str | None = None
    ) -> Outcome:
        """Ties the presented key to the challenge that an existing key must pass. The last such challenge counts."""
        if enrolment.key is None:
            return Outcome(Verdict.NONE, enrolment)
        mine = enrolments.c.id == enrolment.id, enrolments.c.fingerprint == enrolment.key.fingerprint
        presented = update(enrolments).where(*mine, enrolments.c.state == State.PRESENTED, _is_in_time(now))
        with self._database.write(alone="enrolment") as connection:
            waits = connection.execute(presented.values(approval=challenge, attested=attested)).rowcount == 1
        return Outcome(Verdict.APPROVAL_REQUIRED if waits else Verdict.NONE, enrolment)

    def approve(self, page_token: str, challenge: str, now: datetime, policy: KeyPolicy) -> Outcome:
        """Registers the presented key, because an existing key of the person has passed `challenge` for it."""
        with self._database.write(alone="enrolment") as connection:
            mine = enrolments.c.page_hash == digest(page_token), enrolments.c.approval == challenge
            found = _one(connection, *mine)
            if found is None:
                return Outcome(Verdict.NONE)
            passed = consume(connection, challenge, now, None)
            if passed is None or passed.user != found.user or passed.approval is None:
                return Outcome(Verdict.NONE, found)
            by = passed.approval.fingerprint
            return _confirm(connection, found, now, policy, attested=found.attested, added_with=by)

    def refuse(self, page_token: str, now: datetime) -> bool:
        """Refuses the presented key, because the person says "Not my key". Returns whether there was such a key."""
        mine = enrolments.c.page_hash == digest(page_token)
        with self._database.write(alone="enrolment") as connection:
            refused = update(enrolments).where(mine, enrolments.c.state == State.PRESENTED)
            if connection.execute(refused.values(state=State.REFUSED)).rowcount != 1:
                return False
            found = _one(connection, mine)
            assert found is not None  # noqa: S101 - it was just changed
            assert found.key is not None  # noqa: S101 - presented
            presentation = Presentation(found.key, found.client_ip, found.source or "ssh")
            _record(connection, "enrolment.refused", found, presentation, now, reason="not_my_key")
            return True

    def cancel(self, user: str, now: datetime, **facts: Fact) -> bool:
        """Cancels the user's enrolment. Returns whether there was one. `facts` go to the audit log."""
        with self._database.write(alone="enrolment") as connection:
            _sweep(connection, now)
            return _cancel(connection, user, now, **facts)


def _confirm(
    connection: Connection,
    found: Enrolment,
    now: datetime,
    policy: KeyPolicy,
    *,
    attested: str | None,
    added_with: str | None = None,
) -> Outcome:
    """Registers the presented key of the enrolment."""
    if found.key is None or not lock_user(connection, found.user):
        return Outcome(Verdict.NONE)
    mine = enrolments.c.id == found.id
    presented = enrolments.c.state == State.PRESENTED, _is_in_time(now)
    confirmed = update(enrolments).where(mine, *presented).values(state=State.CONFIRMED)
    if connection.execute(confirmed).rowcount != 1:
        return Outcome(Verdict.NONE, found)
    source = found.source or "ssh"
    new = NewKey(found.key, found.name, source, attested, enrolment=found.id, added_with=added_with)
    refusal = register(connection, found.user, new, policy, now)
    if refusal is not None:
        connection.execute(update(enrolments).where(mine).values(state=State.PRESENTED))
        return Outcome(_verdict(refusal), found, refusal)
    return Outcome(Verdict.CONFIRMED, found)


is_waiting = enrolments.c.state.in_([State.OPEN, State.PRESENTED])


def _is_in_time(now: datetime) -> ColumnElement[bool]:
    return and_(enrolments.c.expires_at > now, enrolments.c.created_at <= latest_begin(now))


_in_time = and_(enrolments.c.expires_at > bindparam("now"), enrolments.c.created_at <= bindparam("latest"))
_LATEST = Prepared(
    select(func.max(enrolments.c.expires_at).label("ends")).where(enrolments.c.state == State.OPEN, _in_time)
)


def _present(
    connection: Connection, found: Enrolment, presentation: Presentation, now: datetime, policy: KeyPolicy
) -> Outcome:
    """Gives the key to the enrolment, or refuses the key."""
    key = presentation.key
    if found.state is State.PRESENTED:
        if found.key == key:  # a repetition: the first answer was lost
            return Outcome(Verdict.PRESENTED, found)
        _record(connection, "enrolment.refused", found, presentation, now, reason=Verdict.ANOTHER)
        return Outcome(Verdict.ANOTHER, found)
    # An attestation comes with the confirmation.
    refusal = refusal_of(connection, found.user, key, policy, now, attested=True)
    mine = enrolments.c.id == found.id, enrolments.c.state == State.OPEN
    if refusal is not None:
        state = case((enrolments.c.tries + 1 >= _MAX_REFUSALS, State.CANCELLED), else_=enrolments.c.state)
        connection.execute(update(enrolments).where(*mine).values(tries=enrolments.c.tries + 1, state=state))
        _record(connection, "enrolment.refused", found, presentation, now, reason=refusal)
        return Outcome(_verdict(refusal), found, refusal)
    values = {"fingerprint": key.fingerprint, "type": key.type, "blob": key.blob}
    presented = update(enrolments).where(*mine, _is_in_time(now))
    result = connection.execute(
        presented.values(
            state=State.PRESENTED,
            presented_at=now,
            name=presentation.name,
            source=presentation.source,
            client_ip=presentation.client_ip,
            **values,
        )
    )
    if result.rowcount != 1:
        return Outcome(Verdict.NONE, found)
    _record(connection, "enrolment.presented", found, presentation, now)
    return Outcome(Verdict.PRESENTED, found)


def _verdict(refusal: KeyRefusal) -> Verdict:
    return {KeyRefusal.TAKEN: Verdict.TAKEN, KeyRefusal.OWN: Verdict.OWN}.get(refusal, Verdict.REFUSED)


def _counted_subjects(presentation: Presentation) -> list[Subject]:
    """Returns the subjects of a wrong code, in the lock order that `limits` requires."""
    subjects = [Subject(Scope.ENROL_ALL, "all"), Subject(Scope.ENROL_KEY, presentation.key.fingerprint)]
    if presentation.client_ip:
        subjects.append(Subject(Scope.ENROL_SOURCE, source_of(presentation.client_ip)))
    return subjects


def _record(
    connection: Connection, event: str, found: Enrolment, presentation: Presentation, now: datetime,
    reason: str | None = None,
) -> None:  # fmt: skip
    record_event(connection, event, now, user=found.user, enrolment=found.id, reason=reason, **_facts(presentation))


def _facts(presentation: Presentation) -> dict[str, str | None]:
    facts = {"fingerprint": presentation.key.fingerprint, "key_type": presentation.key.type}
    return {**facts, "source": presentation.source, "client_ip": presentation.client_ip}


def _cancel(connection: Connection, user: str, now: datetime, **facts: Fact) -> bool:
    """Cancels the user's open or presented enrolment. Returns whether there was one."""
    ended = cancel_where(connection, enrolments.c.user_name == user)
    for each in ended:
        record_event(connection, "enrolment.cancelled", now, user=user, enrolment=each.id, **facts)
    return bool(ended)


def cancel_where(connection: Connection, *conditions: ColumnElement[bool]) -> list[Enrolment]:
    """Cancels the open and presented enrolments that meet the conditions, and returns them. Records no event."""
    cancelled = update(enrolments).where(is_waiting, *conditions).values(state=State.CANCELLED)
    return [_enrolment(row) for row in connection.execute(cancelled.returning(enrolments))]


def _sweep(connection: Connection, now: datetime) -> None:
    """Marks enrolments that time has ended as expired, and deletes those that are older than `RETENTION`."""
    over = update(enrolments).where(is_waiting, not_(_is_in_time(now)))
    connection.execute(over.values(state=State.EXPIRED))
    connection.execute(delete(enrolments).where(enrolments.c.created_at <= now - RETENTION))


def _one(connection: Connection, *conditions: Any) -> Enrolment | None:
    rows = connection.execute(select(enrolments).where(*conditions).order_by(enrolments.c.state)).all()
    return next(map(_enrolment, rows), None)  # `open` comes before `presented`


def _enrolment(row: Row[Any]) -> Enrolment:
    return Enrolment(
        id=row.id,
        user=row.user_name,
        state=State(row.state),
        invited_by=row.invited_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        presented_at=row.presented_at,
        key=None if row.blob is None else PublicKey(row.type, row.blob),
        name=row.name or "",
        source=row.source,
        client_ip=row.client_ip,
        opened_in=row.opened_in,
        approval=row.approval,
        attested=row.attested,
    )
