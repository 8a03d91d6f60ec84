"""Judges one attempt to pass a challenge, in one transaction: here an SSH login counts.

Every change is one conditional UPDATE, and its row count decides. So exactly one of many attempts at the same time
succeeds, on SQLite and on PostgreSQL.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, String, bindparam, case, literal_column, or_, select, update

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
from sshaft_identity.challenges.codes import ANONYMOUS_DIGITS, Codes
from sshaft_identity.challenges.events import record_challenge
from sshaft_identity.challenges.limits import Limits, Subject, subjects
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import challenges, ssh_keys, users
from sshaft_identity.people.registration import is_usable

Facts = dict[str, str | None]

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

        A wrong code counts against every challenge that it may be meant for, the user, the clients and the source.
        """
        key_type = self._key_type(attempt)
        if key_type is None and (attempt.fingerprint is not None or not self._is_user(attempt.user)):
            return Answer(Verdict.UNKNOWN_KEY if attempt.fingerprint else Verdict.NO_CHALLENGE)
        candidates = self._candidates(attempt)
        undecided = [each for each in candidates if verdict_before_code(each, attempt.name, self.now) is None]
        if not undecided and not self._is_guess(attempt, candidates):
            return self._answer_decided(candidates, attempt.name)
        counted = subjects(attempt.user, attempt.client_ip, (each.client for each in undecided))
        if locked := self._locked(counted, undecided):
            return locked
        chosen = _choose(self.codes, attempt.code, undecided)
        if chosen is Verdict.INVALID_CODE:
            meant = [each for each in undecided if each.binding is Binding.CODE_IN]
            return self._count_wrong_code(meant, attempt.name, counted, _facts(attempt, key_type))
        if isinstance(chosen, Verdict):
            return Answer(chosen, tuple(undecided))
        return self._pass(chosen, attempt, key_type)

    _PRESENT = Prepared(_update_open.values(_proof | {"presented_at": bindparam("now")}))
    _ACCEPT = Prepared(_update_open.values(_acceptance | _proof))

    def _pass(self, chosen: Challenge, attempt: Attempt, key_type: str | None) -> Answer:
        if chosen.verify_required and not attempt.verified:
            return Answer(Verdict.VERIFICATION_REQUIRED, (chosen,))
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
            return Answer(Verdict.PRESENTED, tuple(after), code=self.codes.given_back(chosen.id))
        self._record("challenge.accepted", after)
        return Answer(Verdict.ACCEPTED, tuple(after))

    _VERIFY = Prepared(_update_open.values(_acceptance))

    def verify(self, identifier: str, code: str, name: str | None) -> Answer:
        """Judges a `code_back` code from the web login. Until ssh has shown the code, every code is wrong."""
        challenge = rows.read(self.connection, identifier)
        if challenge is None or challenge.binding is not Binding.CODE_BACK:
            return Answer(Verdict.NO_CHALLENGE)
        if verdict_before_code(challenge, name, self.now) is not None:
            return self._answer_decided([challenge], name)
        counted = subjects(challenge.user, None, [challenge.client])
        if locked := self._locked(counted, [challenge]):
            return locked
        right = self.codes.matches_given_back(challenge.id, code)
        if not right or challenge.presented_at is None:
            return self._count_wrong_code([challenge], name, counted, {})
        after = self._change(self._VERIFY, challenge, name)
        if not after:
            return self._answer_decided(self._read_again([challenge]), name)
        self._record("challenge.accepted", after)
        return Answer(Verdict.ACCEPTED, tuple(after))

    _is_not_over = challenges.c.expires_at > bindparam("now")
    _FIND_NAMED = Prepared(rows.of_user.where(challenges.c.id == bindparam("challenge")))
    _FIND_JUDGED = Prepared(rows.of_user.where(challenges.c.attempt == bindparam("name")))
    _FIND_BY_CODE = Prepared(rows.of_code.where(_is_not_over))
    _FIND_LAST = Prepared(
        rows.of_user.where(_in_any_state, _is_not_over)
        .order_by(None)
        .order_by(challenges.c.expires_at.desc())
        .limit(literal_column("1"))
    )

    def _candidates(self, attempt: Attempt) -> list[Challenge]:
        """Returns the challenges that the attempt may be meant for. If it names a challenge, no other is returned.

        Otherwise the first of these that exist: the challenges that the same attempt was judged for; the challenge
        without a user that has this code; the running challenges of the user; the user's last challenge whose time is
        not over. The state of that last one says why the attempt is too late.
        """
        user, now = attempt.user, self.now
        if attempt.challenge is not None:
            return rows.read_all(self.connection, self._FIND_NAMED, user=user, challenge=attempt.challenge)
        if attempt.name is not None:
            judged = rows.read_all(self.connection, self._FIND_JUDGED, user=user, name=attempt.name)
            if judged:
                return judged
        if self._is_long(attempt.code):
            index = self.codes.index(attempt.code or "")
            if found := rows.read_all(self.connection, self._FIND_BY_CODE, index=index, now=now):
                return found
        running = rows.read_all(self.connection, rows.RUNNING_OF_USER, user=user, now=now)
        return running or rows.read_all(self.connection, self._FIND_LAST, user=user, now=now)

    @staticmethod
    def _is_long(code: str | None) -> bool:
        """Whether the code is long enough to find a challenge without a user."""
        return code is not None and len(code) == ANONYMOUS_DIGITS

    _ANY_WAITS = Prepared(select(rows.waits_for_any_user.label("waits")))

    def _is_guess(self, attempt: Attempt, candidates: Collection[Challenge]) -> bool:
        """Whether the code may be a guess at a challenge without a user: some such challenge waits for its code."""
        again = attempt.name is not None and attempt.name in [each.attempt for each in candidates]
        if again or attempt.challenge is not None or not self._is_long(attempt.code):
            return False
        return bool(self._ANY_WAITS.all(self.connection, {"now": self.now})[0].waits)

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
        self, concerned: list[Challenge], name: str | None, counted: Collection[Subject], facts: Facts
    ) -> Answer:
        took = [self._take_try(challenge, name) for challenge in concerned]
        after = self._read_again(concerned)
        if not all(took):
            return self._answer_decided(after, name)
        limits.count(self.connection, counted, self.now)
        self._record("challenge.wrong_code", after, facts)
        tried_out = [each for each in after if each.state is State.REJECTED]
        self._record("challenge.rejected", tried_out, facts | {"reason": "tried_out"})
        return Answer(Verdict.INVALID_CODE, tuple(after))

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
        values = {"fingerprint": attempt.fingerprint or "", "user": attempt.user, "now": self.now}
        key = self._FIND_KEY_TYPE.first(self.connection, values)
        return None if key is None else key.type

    _MARK_USED = Prepared(
        update(ssh_keys)
        .where(ssh_keys.c.fingerprint == bindparam("the_fingerprint"))
        .values(last_used_at=bindparam("now"), last_used_from=bindparam("client_ip"))
    )

    def _mark_used(self, attempt: Attempt) -> None:
        values = {"the_fingerprint": attempt.fingerprint or "", "now": self.now, "client_ip": attempt.client_ip}
        self._MARK_USED.all(self.connection, values)

    def _record(self, event: str, concerned: Collection[Challenge], facts: Facts | None = None) -> None:
        for challenge in concerned:
            record_challenge(self.connection, event, challenge, self.now, **(facts or {}))


def _facts(attempt: Attempt, key_type: str | None) -> Facts:
    """Returns the SSH part of an audit event, for a challenge that does not hold these facts itself."""
    return {"fingerprint": attempt.fingerprint, "key_type": key_type, "ssh_address": attempt.client_ip}


def _choose(codes: Codes, code: str | None, undecided: Collection[Challenge]) -> Challenge | Verdict:
    """Returns the challenge that the attempt is meant for, or a verdict. `undecided` is in the order of opening."""
    of = {binding: [each for each in undecided if each.binding is binding] for binding in Binding}
    if code is not None and (of[Binding.CODE_IN] or not undecided):
        right = [each for each in of[Binding.CODE_IN] if codes.matches(each.id, code, each.code_hmac)]
        return right[0] if right else Verdict.INVALID_CODE
    if of[Binding.CODE_BACK]:  # the challenge opened last; ssh tells the person what it approves
        return of[Binding.CODE_BACK][-1]
    if of[Binding.CODE_IN]:
        return Verdict.CODE_REQUIRED
    # Nothing tells several unbound challenges apart, and a code means a login that is not among them.
    unbound = of[Binding.NONE]
    return unbound[0] if len(unbound) == 1 and code is None else Verdict.NO_CHALLENGE
