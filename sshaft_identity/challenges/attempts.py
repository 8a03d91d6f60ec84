"""Judges one attempt to pass a challenge, in one transaction: here an SSH login counts.

Every change is one conditional UPDATE, and its row count decides. So exactly one of many attempts at the same time
succeeds, on SQLite and on PostgreSQL.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, String, bindparam, case, literal_column, or_, select, update

from sshaft_identity.audit.log import record_event
from sshaft_identity.challenges import limits, rows
from sshaft_identity.challenges.challenge import (
    MAX_TRIES,
    AddressCheck,
    Binding,
    Challenge,
    State,
    Verdict,
    address_verdict,
    verdict_before_code,
)
from sshaft_identity.challenges.codes import Codes, is_long
from sshaft_identity.challenges.events import record_challenge
from sshaft_identity.challenges.limits import Limits, Scope, Subject, subjects
from sshaft_identity.common.times import rfc3339
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import challenges, ssh_keys, users
from sshaft_identity.people.registration import is_usable

Facts = dict[str, str | None]

_RECENT = timedelta(minutes=15)
_MAX_RECENT = 10
"""A code is compared with so many of the user's last challenges, to tell a late code from a wrong code."""

# The index on challenges begins with user and state, so a query for any state lists them all.
_in_any_state = challenges.c.state.in_([literal_column(f"'{state}'") for state in State])

# Each UPDATE below lets one of many attempts through: afterwards its condition is false. An accept takes a try, too:
# after five wrong codes the right code finds no row.
_is_open = (challenges.c.id == bindparam("challenge")) & rows.is_running & (challenges.c.tries < MAX_TRIES)
_update_open = update(challenges).where(_is_open).returning(challenges)
_proof: dict[str, Any] = {
    name: bindparam(f"the_{name}") for name in ("user_name", "fingerprint", "key_type", "client_ip", "verified")
}
_one_try = {"tries": challenges.c.tries + 1, "attempt": bindparam("name")}
_acceptance = _one_try | {"state": State.ACCEPTED, "accepted_at": bindparam("now")}


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's settings for attempts."""

    limits: Limits = field(default_factory=Limits)
    address_check: AddressCheck = AddressCheck.WARN


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to pass a challenge, as the agent reports it. `name` identifies a repeated try, see `codes.attempt_name`.

    `verified`: the key line had `verify-required`. `confirmed`: the person read what the login approves and said yes.
    """

    user: str
    challenge: str | None = None
    code: str | None = field(default=None, repr=False)
    fingerprint: str | None = None
    client_ip: str | None = None
    name: str | None = None
    verified: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of an attempt, with the challenges that it concerned as they are now.

    `code`: the code that ssh shows the person (`code_back`). `retry_at`: when the next code is checked again.
    """

    verdict: Verdict
    challenges: tuple[Challenge, ...] = ()
    code: str | None = field(default=None, repr=False)
    retry_at: datetime | None = None

    @property
    def attempts_left(self) -> int | None:
        return max((challenge.attempts_left for challenge in self.challenges), default=None)


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges attempts within one transaction."""

    connection: Connection
    codes: Codes
    rules: Rules
    now: datetime

    def accept(self, attempt: Attempt) -> Answer:
        """Judges an SSH login.

        A wrong code counts against every challenge that it may be meant for, the user, the clients and the source. A
        code that fits a challenge is never wrong: if that challenge cannot pass, the verdict says why, and nothing
        counts.
        """
        key_type = self._key_type(attempt)
        if key_type is None and (attempt.fingerprint is not None or not self._is_user(attempt.user)):
            return Answer(Verdict.UNKNOWN_KEY if attempt.fingerprint else Verdict.NO_CHALLENGE)
        running = rows.read_all(self.connection, rows.RUNNING_OF_USER, user=attempt.user, now=self.now)
        meant = [each for each in running if attempt.challenge in (None, each.id)]
        fitting = [] if attempt.code is None else self._with_code(attempt.code, running)
        # A code that fits an open challenge is usually a first attempt, so the usual login needs no such search.
        is_first = fitting and all(each.attempt != attempt.name for each in fitting)
        if not is_first and (judged := self._judged(attempt)):
            return self._answer_decided(judged, attempt.name)
        if attempt.code is not None:
            return self._accept_code(attempt.code, attempt, key_type, fitting, meant)
        counted = _subjects(attempt, meant)
        return (meant and self._locked(counted, meant)) or self._accept_without_code(attempt, key_type, meant)

    def _accept_code(
        self, code: str, attempt: Attempt, key_type: str | None, fitting: list[Challenge], meant: list[Challenge]
    ) -> Answer:
        """Judges a login with a code. `fitting` have this code; `meant` are the ones that the attempt names."""
        counted = _subjects(attempt, meant)
        tried = [each for each in meant if each.binding is Binding.CODE_IN]
        is_guess = bool(tried) or self._is_guess(code)
        if (fitting or is_guess) and (locked := self._locked(counted, meant)):
            return locked
        if len(fitting) > 1:  # a client chose the code of another login
            return Answer(Verdict.CANCELLED, tuple(self._cancel(fitting)))
        if fitting:
            return self._pass(fitting[0], attempt, key_type)
        if ended := self._answer_ended(code, attempt):
            return ended
        if not is_guess:
            return self._answer_late(attempt, meant)
        return self._count_wrong_code(tried, attempt.name, counted, _facts(attempt, key_type), user=attempt.user)

    def _accept_without_code(self, attempt: Attempt, key_type: str | None, meant: list[Challenge]) -> Answer:
        of = {binding: [each for each in meant if each.binding is binding] for binding in Binding}
        code_in, code_back, unbound = of[Binding.CODE_IN], of[Binding.CODE_BACK], of[Binding.NONE]
        if len(code_back) == 1 and not code_in:
            return self._pass(code_back[0], attempt, key_type)
        if code_back:
            return Answer(Verdict.CHOICE_REQUIRED, tuple(reversed(code_back)))
        if code_in:
            return Answer(Verdict.CODE_REQUIRED, tuple(meant))
        if len(unbound) == 1:  # nothing tells several of them apart
            return self._pass(unbound[0], attempt, key_type)
        return Answer(Verdict.NO_CHALLENGE, tuple(meant)) if meant else self._answer_late(attempt, meant)

    _PRESENT = Prepared(_update_open.values(_proof | {"presented_at": bindparam("now")}))
    _ACCEPT = Prepared(_update_open.values(_acceptance | _proof))

    def _pass(self, chosen: Challenge, attempt: Attempt, key_type: str | None) -> Answer:
        if chosen.hint not in (None, attempt.user):
            return Answer(Verdict.OTHER_USER)
        if chosen.verify_required and not attempt.verified:
            return Answer(Verdict.VERIFICATION_REQUIRED, (self._claimed(chosen, attempt, key_type),))
        check = self.rules.address_check
        if verdict := address_verdict(check, chosen.context.ip, attempt.client_ip, confirmed=attempt.confirmed):
            return Answer(verdict, (chosen,))
        proof: dict[str, object] = {
            "the_user_name": attempt.user,
            "the_fingerprint": attempt.fingerprint,
            "the_key_type": key_type,
            "the_client_ip": attempt.client_ip,
            "the_verified": attempt.verified,
        }
        statement = self._PRESENT if chosen.binding is Binding.CODE_BACK else self._ACCEPT
        after = self._change(statement, chosen, attempt.name, **proof)
        if not after:  # another attempt was faster: its change stays, and decides this attempt
            return self._answer_decided(self._read_again([chosen]), attempt.name)
        self._mark_used(attempt)
        if chosen.binding is Binding.CODE_BACK:
            self._record("challenge.presented", after, _facts(attempt, key_type))
            return Answer(Verdict.PRESENTED, tuple(after), code=self.codes.given_back(chosen.id, chosen.digits))
        self._record("challenge.accepted", after)
        return Answer(Verdict.ACCEPTED, tuple(after))

    _CLAIM = Prepared(_update_open.where(challenges.c.user_name.is_(None)).values(user_name=bindparam("the_user_name")))

    def _claimed(self, chosen: Challenge, attempt: Attempt, key_type: str | None) -> Challenge:
        """Names the user of a hinted challenge, once a security key of that user has brought its code.

        From then on sshd lists the challenge for the user, and the line of the key has `verify-required`. A stranger
        cannot achieve this, so a stranger cannot make another person's key line require more.
        """
        if chosen.user is not None or key_type is None or not key_type.startswith("sk-"):
            return chosen
        after = self._change(self._CLAIM, chosen, None, the_user_name=attempt.user)
        return after[0] if after else chosen

    _VERIFY = Prepared(_update_open.values(_acceptance))

    def verify(self, identifiers: Collection[str], code: str, name: str | None) -> Answer:
        """Judges a code from the web login, for the `code_back` challenges that it may be meant for.

        Only challenges whose code ssh has shown are compared. A stranger who knows no more than a name can type codes
        too, so before that a code takes no try, and it never counts against the user.
        """
        named = [
            each
            for identifier in identifiers
            if (each := rows.read(self.connection, identifier)) is not None and each.binding is Binding.CODE_BACK
        ]
        waiting = [each for each in named if verdict_before_code(each, name, self.now) is None]
        if not waiting:
            return self._answer_decided(named, name)
        presented = [each for each in waiting if each.presented_at is not None]
        if not presented:
            return Answer(Verdict.NOT_PRESENTED, tuple(waiting))
        right = [each for each in presented if self.codes.matches_given_back(each.id, code, each.digits)]
        if not right:
            return self._count_wrong_code(presented, name, (), {})
        chosen = right[0]
        after = self._change(self._VERIFY, chosen, name)
        if not after:
            return self._answer_decided(self._read_again([chosen]), name)
        self._record("challenge.accepted", after)
        return Answer(Verdict.ACCEPTED, tuple(after))

    _FIND_JUDGED = Prepared(rows.of_user.where(challenges.c.attempt == bindparam("name")))

    def _judged(self, attempt: Attempt) -> list[Challenge]:
        """Returns the challenges for which the same attempt was judged before."""
        return rows.read_all(self.connection, self._FIND_JUDGED, user=attempt.user, name=attempt.name)

    _FIND_BY_CODE = Prepared(rows.of_code.where(challenges.c.expires_at > bindparam("now")))

    def _with_code(self, code: str, running: Collection[Challenge]) -> list[Challenge]:
        """Returns the running challenges of the user, and of no user, that have this code."""
        of_user = [
            each
            for each in running
            if each.binding is Binding.CODE_IN and self.codes.matches(each.id, code, each.code_hmac)
        ]
        if not is_long(code):
            return of_user
        found = rows.read_all(self.connection, self._FIND_BY_CODE, index=self.codes.index(code), now=self.now)
        return of_user + [each for each in found if each.user is None]

    def _cancel(self, fitting: Collection[Challenge]) -> list[Challenge]:
        done = [after for each in fitting for after in rows.end(self.connection, each.id, State.CANCELLED, self.now)]
        self._record("challenge.cancelled", done, {"reason": "same_code"})
        return done

    _is_code_in = challenges.c.binding == literal_column(f"'{Binding.CODE_IN}'")
    _is_recent = challenges.c.expires_at > bindparam("since")
    _FIND_RECENT = Prepared(
        rows.of_user.where(_in_any_state, _is_recent)
        .order_by(None)
        .order_by(challenges.c.expires_at.desc())
        .limit(literal_column(str(_MAX_RECENT)))
    )
    _FIND_RECENT_BY_CODE = Prepared(
        select(challenges)
        .where(challenges.c.code_index == bindparam("index"), _is_code_in, _is_recent)
        .limit(literal_column("1"))
    )

    def _answer_ended(self, code: str, attempt: Attempt) -> Answer | None:
        """Answers a code that fits a login that is over, or that another person has passed. Returns None for others."""
        since = self.now - _RECENT
        recent = rows.read_all(self.connection, self._FIND_RECENT, user=attempt.user, since=since)
        fitting = [each for each in recent if self.codes.matches(each.id, code, each.code_hmac)]
        if not fitting and is_long(code):
            index = self.codes.index(code)
            fitting = rows.read_all(self.connection, self._FIND_RECENT_BY_CODE, index=index, since=since)
        if not fitting:
            return None
        ended = fitting[0]
        if {ended.user, ended.hint} - {None, attempt.user}:
            return Answer(Verdict.OTHER_USER)
        verdict = verdict_before_code(ended, attempt.name, self.now)
        return None if verdict is None else Answer(verdict, (ended,))

    _FIND_NAMED = Prepared(rows.of_user.where(challenges.c.id == bindparam("challenge")))
    _FIND_LAST = Prepared(
        rows.of_user.where(_in_any_state, challenges.c.expires_at > bindparam("now"))
        .order_by(None)
        .order_by(challenges.c.expires_at.desc())
        .limit(literal_column("1"))
    )

    def _answer_late(self, attempt: Attempt, meant: Collection[Challenge]) -> Answer:
        """Answers an attempt that no challenge can pass, with the state of the challenge that it names, or of the last.

        A code is not one of the challenges in `meant`: those ask for no code.
        """
        user, now = attempt.user, self.now
        if meant:
            return Answer(Verdict.INVALID_CODE)
        if attempt.challenge is not None:
            last = rows.read_all(self.connection, self._FIND_NAMED, user=user, challenge=attempt.challenge)
        else:
            last = rows.read_all(self.connection, self._FIND_LAST, user=user, now=now)
        answer = self._answer_decided(last, attempt.name)
        # A code that does not fit the last challenge is not the code of a passed login.
        is_of_another = attempt.code is not None and answer.verdict is Verdict.ALREADY_USED
        return Answer(Verdict.NO_CHALLENGE) if is_of_another else answer

    _ANY_WAITS = Prepared(select(rows.waits_for_any_user.label("waits")))

    def _is_guess(self, code: str) -> bool:
        """Whether the code may be a guess at a challenge without a user: some such challenge waits for its code."""
        return is_long(code) and bool(self._ANY_WAITS.all(self.connection, {"now": self.now})[0].waits)

    def _locked(self, counted: Collection[Subject], concerned: Collection[Challenge]) -> Answer | None:
        until = limits.locked_until(self.connection, counted, self.rules.limits, self.now)
        return Answer(Verdict.TOO_MANY_ATTEMPTS, tuple(concerned), retry_at=until) if until else None

    def _answer_decided(self, candidates: Collection[Challenge], name: str | None) -> Answer:
        """Answers for challenges that are already decided; the code is not checked."""
        verdicts = [(verdict_before_code(each, name, self.now) or Verdict.INVALID_CODE, each) for each in candidates]
        if not verdicts:
            return Answer(Verdict.NO_CHALLENGE)
        accepted = [each for verdict, each in verdicts if verdict is Verdict.ACCEPTED]
        if accepted:
            return Answer(Verdict.ACCEPTED, tuple(accepted))
        return Answer(verdicts[0][0], tuple(candidates))

    def _count_wrong_code(
        self,
        concerned: list[Challenge],
        name: str | None,
        counted: Collection[Subject],
        facts: Facts,
        *,
        user: str | None = None,
    ) -> Answer:
        """Takes a try of each challenge and counts the wrong code. `user` tried it, if no challenge is concerned."""
        took = [self._take_try(challenge, name) for challenge in concerned]
        after = self._read_again(concerned)
        if not all(took):
            return self._answer_decided(after, name)
        self._record("challenge.wrong_code", after, facts)
        if not concerned:
            record_event(self.connection, "challenge.wrong_code", self.now, user=user, **facts)
        tried_out = [each for each in after if each.state is State.REJECTED]
        self._record("challenge.rejected", tried_out, facts | {"reason": "tried_out"})
        locked = self._record_limits(limits.count(self.connection, counted, self.now))
        if locked is None:
            return Answer(Verdict.INVALID_CODE, tuple(after))
        ended = self._end_locked(locked.subject.name)
        return Answer(Verdict.TOO_MANY_ATTEMPTS, (*tried_out, *ended), retry_at=locked.ends_at)

    def _record_limits(self, counts: Collection[limits.Count]) -> limits.Count | None:
        """Records an event for each count that has just reached its limit: from now on no code is checked.

        Returns the count of the user, if it is one of these; None: the user is not locked out.
        """
        locked = None
        for each in counts:
            subject = each.subject
            if each.times == self.rules.limits.of(subject.scope):
                user = subject.name if subject.scope is Scope.USER else None
                facts: Facts = {"scope": subject.scope, "subject": subject.name, "until": rfc3339(each.ends_at)}
                record_event(self.connection, "limit.reached", self.now, user=user, **facts)
                locked = each if user else locked
        return locked

    _is_waiting = (challenges.c.user_name == bindparam("user")) & rows.is_running
    _END_LOCKED = Prepared(
        update(challenges)
        .where(_is_waiting, challenges.c.binding == literal_column(f"'{Binding.CODE_IN}'"))
        .values(state=State.REJECTED, tries=MAX_TRIES)
        .returning(challenges)
    )

    def _end_locked(self, user: str) -> list[Challenge]:
        """Ends the challenges that wait for a code of the user, so that their pages say it: a lock-out lasts longer."""
        ended = rows.read_all(self.connection, self._END_LOCKED, user=user, now=self.now)
        self._record("challenge.rejected", ended, {"reason": "locked"})
        return ended

    def _change(self, statement: Prepared, challenge: Challenge, name: str | None, **proof: object) -> list[Challenge]:
        """Returns the changed challenge, or nothing if another attempt was faster."""
        values = {"challenge": challenge.id, "now": self.now, "name": name}
        return rows.read_all(self.connection, statement, **values | proof)

    _name = bindparam("name", type_=String)
    _is_new = or_(_name.is_(None), challenges.c.attempt.is_(None), challenges.c.attempt != _name)
    _tried_out = case((challenges.c.tries + 1 >= MAX_TRIES, State.REJECTED), else_=challenges.c.state)
    _TAKE_TRY = Prepared(_update_open.where(_is_new).values(_one_try | {"state": _tried_out}))

    def _take_try(self, challenge: Challenge, name: str | None) -> bool:
        """Takes a try; the fifth rejects the challenge. Returns whether a try was left: only five are answered."""
        return bool(self._change(self._TAKE_TRY, challenge, name))

    def _read_again(self, concerned: Collection[Challenge]) -> list[Challenge]:
        return [found for each in concerned if (found := rows.read(self.connection, each.id)) is not None]

    _FIND_USER = Prepared(select(users.c.name).where(users.c.name == bindparam("user")))

    def _is_user(self, name: str) -> bool:
        return self._FIND_USER.first(self.connection, {"user": name}) is not None

    _is_key = ssh_keys.c.fingerprint == bindparam("fingerprint"), ssh_keys.c.user_name == bindparam("user")
    _FIND_KEY_TYPE = Prepared(select(ssh_keys.c.type).where(*_is_key, is_usable))

    def _key_type(self, attempt: Attempt) -> str | None:
        """Returns the type of the user's registered key. The agent's statement is not used: `amr` depends on it."""
        values = {"fingerprint": attempt.fingerprint, "user": attempt.user, "now": self.now}
        key = self._FIND_KEY_TYPE.first(self.connection, values)
        return None if key is None else key.type

    _MARK_USED = Prepared(
        update(ssh_keys)
        .where(ssh_keys.c.fingerprint == bindparam("the_fingerprint"))
        .values(last_used_at=bindparam("now"), last_used_from=bindparam("client_ip"))
    )

    def _mark_used(self, attempt: Attempt) -> None:
        values = {"the_fingerprint": attempt.fingerprint, "now": self.now, "client_ip": attempt.client_ip}
        self._MARK_USED.all(self.connection, values)

    def _record(self, event: str, concerned: Collection[Challenge], facts: Facts | None = None) -> None:
        for challenge in concerned:
            record_challenge(self.connection, event, challenge, self.now, **(facts or {}))


def _facts(attempt: Attempt, key_type: str | None) -> Facts:
    """Returns the SSH part of an audit event, for a challenge that does not hold these facts itself."""
    return {"fingerprint": attempt.fingerprint, "key_type": key_type, "ssh_address": attempt.client_ip}


def _subjects(attempt: Attempt, meant: Collection[Challenge]) -> list[Subject]:
    """Returns the subjects that a wrong code of the attempt counts for."""
    return subjects(attempt.user, attempt.client_ip, (each.client for each in meant))
