"""One attempt to pass a challenge, judged in one transaction: the moment at which an SSH login counts.

Every step is one conditional UPDATE whose row count decides, so that of many who try at once exactly one succeeds, on
SQLite and PostgreSQL alike.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, String, bindparam, case, literal_column, or_, select, update

from sshaft_identity.challenges import limits
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
from sshaft_identity.challenges.rows import (
    RUNNING_OF_USER,
    is_running,
    of_code,
    of_user,
    read,
    read_all,
    waits_for_anybody,
)
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import challenges, ssh_keys, users
from sshaft_identity.people.registration import is_usable

Facts = dict[str, str | None]

_is_not_over = challenges.c.expires_at > bindparam("now")
_in_any_state = challenges.c.state.in_([literal_column(f"'{state}'") for state in State])
_last = of_user.where(_in_any_state, _is_not_over).order_by(None)
_is_key = ssh_keys.c.fingerprint == bindparam("fingerprint"), ssh_keys.c.user_name == bindparam("user")
_THE_ONE = Prepared(of_user.where(challenges.c.id == bindparam("challenge")))
_OF_ATTEMPT = Prepared(of_user.where(challenges.c.attempt == bindparam("name")))
_NOT_OVER_OF_CODE = Prepared(of_code.where(_is_not_over))
_LAST = Prepared(_last.order_by(challenges.c.expires_at.desc()).limit(literal_column("1")))
_KEY_TYPE = Prepared(select(ssh_keys.c.type).where(*_is_key, is_usable))
_USER = Prepared(select(users.c.name).where(users.c.name == bindparam("user")))
_WAITS = Prepared(select(waits_for_anybody.label("waits")))

# Each of these lets one attempt of many through: what it asks for holds no more once it is done. An accept takes a try:
# a right code after five wrong ones finds no row.
_is_open = (challenges.c.id == bindparam("challenge")) & is_running & (challenges.c.tries < MAX_TRIES)
_open = update(challenges).where(_is_open).returning(challenges)
_proof: dict[str, Any] = {
    name: bindparam(f"the_{name}") for name in ("user_name", "fingerprint", "key_type", "client_ip", "verified")
}
_try = {"tries": challenges.c.tries + 1, "attempt": bindparam("name")}
_acceptance = {"state": State.ACCEPTED, "accepted_at": bindparam("now")}
_PRESENT = Prepared(_open.values(_proof | {"presented_at": bindparam("now")}))
_VERIFY = Prepared(_open.values(_acceptance | _try))
_ACCEPT = Prepared(_open.values(_acceptance | _try | _proof))
_name = bindparam("name", type_=String)
_is_new = or_(_name.is_(None), challenges.c.attempt.is_(None), challenges.c.attempt != _name)
_tried_out = case((challenges.c.tries + 1 >= MAX_TRIES, State.REJECTED), else_=challenges.c.state)
_COUNT = Prepared(_open.where(_is_new).values(_try | {"state": _tried_out}))

_use = update(ssh_keys).where(ssh_keys.c.fingerprint == bindparam("the_fingerprint"))
_NOTE_USE = Prepared(_use.values(last_used_at=bindparam("now"), last_used_from=bindparam("client_ip")))


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has decided about attempts."""

    limits: Limits = field(default_factory=Limits)
    address_check: AddressCheck = AddressCheck.WARN


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to pass, as the agent tells it. `name` is the same for the same try, see `codes.attempt_name`.

    `verified`: the key line had `verify-required`. `confirmed`: the person has seen what is approved and said yes.
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
    """How an attempt ended; `challenges` are those it concerned, as they are now. `code` is what ssh shows the person
    (`code_back`), `retry_at` when somebody who was wrong too often may try again.
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
    """All that one judgement needs, for the time of its transaction."""

    connection: Connection
    codes: Codes
    rules: Rules
    now: datetime

    def accept(self, attempt: Attempt) -> Answer:
        """What the SSH login comes to. A wrong code counts against every challenge that it may have been meant for,
        against the user, the client and the address it came from.
        """
        key_type = self._key_type(attempt)
        if key_type is None and (attempt.fingerprint is not None or not self._is_user(attempt.user)):
            return Answer(Verdict.UNKNOWN_KEY if attempt.fingerprint else Verdict.NO_CHALLENGE)
        candidates = self._candidates(attempt)
        undecided = [each for each in candidates if verdict_before_code(each, attempt.name, self.now) is None]
        if not undecided and not self._is_guess(attempt, candidates):
            return self._settled(candidates, attempt.name)
        counted = subjects(attempt.user, attempt.client_ip, (each.client for each in undecided))
        if locked := self._locked(counted, undecided):
            return locked
        chosen = _choose(self.codes, attempt.code, undecided)
        if chosen is Verdict.INVALID_CODE:
            meant = [each for each in undecided if each.binding is Binding.CODE_IN]
            return self._wrong(meant, attempt.name, counted, _facts(attempt, key_type))
        if isinstance(chosen, Verdict):
            return Answer(chosen, tuple(undecided))
        return self._pass(chosen, attempt, key_type)

    def _pass(self, chosen: Challenge, attempt: Attempt, key_type: str | None) -> Answer:
        if chosen.verify_required and not attempt.verified:
            return Answer(Verdict.VERIFICATION_REQUIRED, (chosen,))
        check = self.rules.address_check
        if no := address_verdict(check, chosen.context.ip, attempt.client_ip, confirmed=attempt.confirmed):
            return Answer(no, (chosen,))
        proof: dict[str, object] = {
            "the_user_name": attempt.user,
            "the_fingerprint": attempt.fingerprint,
            "the_key_type": key_type,
            "the_client_ip": attempt.client_ip,
            "the_verified": attempt.verified,
        }
        statement = _PRESENT if chosen.binding is Binding.CODE_BACK else _ACCEPT
        after = self._take(statement, chosen, attempt.name, **proof)
        if not after:  # somebody was faster: their step stands, and this attempt meets what they left
            return self._settled(self._again([chosen]), attempt.name)
        self._note_use(attempt)
        if chosen.binding is Binding.CODE_BACK:
            self._record("challenge.presented", after, _facts(attempt, key_type))
            return Answer(Verdict.PRESENTED, tuple(after), code=self.codes.given_back(chosen.id))
        self._record("challenge.accepted", after)
        return Answer(Verdict.ACCEPTED, tuple(after))

    def verify(self, identifier: str, code: str, name: str | None) -> Answer:
        """`code_back`: the code that ssh gave, brought by the client where the web login asked for it. Before ssh has
        given one every code is wrong, and costs as much.
        """
        challenge = read(self.connection, identifier)
        if challenge is None or challenge.binding is not Binding.CODE_BACK:
            return Answer(Verdict.NO_CHALLENGE)
        if verdict_before_code(challenge, name, self.now) is not None:
            return self._settled([challenge], name)
        counted = subjects(challenge.user, None, [challenge.client])
        if locked := self._locked(counted, [challenge]):
            return locked
        right = self.codes.matches_given_back(challenge.id, code)
        if not right or challenge.presented_at is None:
            return self._wrong([challenge], name, counted, {})
        after = self._take(_VERIFY, challenge, name)
        if not after:
            return self._settled(self._again([challenge]), name)
        self._record("challenge.accepted", after)
        return Answer(Verdict.ACCEPTED, tuple(after))

    def _candidates(self, attempt: Attempt) -> list[Challenge]:
        """What the attempt may have been meant for: the named one; else those judged by this very attempt before; else
        all pending ones of the user, and the one without a user that has this code; else the last one that would still
        run, so that "too late" can say why.
        """
        user, now = attempt.user, self.now
        if attempt.challenge is not None:
            return read_all(self.connection, _THE_ONE, user=user, challenge=attempt.challenge)
        if attempt.name is not None:
            before = read_all(self.connection, _OF_ATTEMPT, user=user, name=attempt.name)
            if before:
                return before
        if self._is_long(attempt.code):
            found = read_all(self.connection, _NOT_OVER_OF_CODE, index=self.codes.index(attempt.code or ""), now=now)
            if found:
                return found
        running = read_all(self.connection, RUNNING_OF_USER, user=user, now=now)
        return running or read_all(self.connection, _LAST, user=user, now=now)

    @staticmethod
    def _is_long(code: str | None) -> bool:
        return code is not None and len(code) == ANONYMOUS_DIGITS

    def _is_guess(self, attempt: Attempt, candidates: Collection[Challenge]) -> bool:
        """A code that finds nothing that waits, while some challenge waits for a code that would."""
        again = attempt.name is not None and attempt.name in [each.attempt for each in candidates]
        if again or attempt.challenge is not None or not self._is_long(attempt.code):
            return False
        return bool(_WAITS.all(self.connection, {"now": self.now})[0].waits)

    def _locked(self, counted: Collection[Subject], concerned: Collection[Challenge]) -> Answer | None:
        until = limits.locked_until(self.connection, counted, self.rules.limits, self.now)
        return Answer(Verdict.TOO_MANY_ATTEMPTS, tuple(concerned), retry_at=until) if until else None

    def _settled(self, candidates: Collection[Challenge], name: str | None) -> Answer:
        """The answer where no code is looked at any more."""
        verdicts = [(verdict_before_code(each, name, self.now) or Verdict.INVALID_CODE, each) for each in candidates]
        if not verdicts:
            return Answer(Verdict.NO_CHALLENGE)
        accepted = [each for verdict, each in verdicts if verdict is Verdict.ACCEPTED]
        if accepted:
            return Answer(Verdict.ACCEPTED, tuple(accepted))
        return Answer(verdicts[0][0], tuple(candidates))

    def _wrong(
        self, concerned: list[Challenge], name: str | None, counted: Collection[Subject], facts: Facts
    ) -> Answer:
        done = False not in [self._count_wrong(each, name) for each in concerned]
        after = self._again(concerned)
        if not done:
            return self._settled(after, name)
        limits.count(self.connection, counted, self.now)
        self._record("challenge.wrong_code", after, facts)
        tried_out = [each for each in after if each.state is State.REJECTED]
        self._record("challenge.rejected", tried_out, facts | {"reason": "tried_out"})
        return Answer(Verdict.INVALID_CODE, tuple(after))

    def _take(self, statement: Prepared, challenge: Challenge, name: str | None, **proof: object) -> list[Challenge]:
        """The challenge as it is then, if the step is this attempt's to take."""
        values = {"challenge": challenge.id, "now": self.now, "name": name}
        return read_all(self.connection, statement, **values | proof)

    def _count_wrong(self, challenge: Challenge, name: str | None) -> bool:
        """Take a try, and with the fifth reject. Only who finds a row is answered: five answers, no more."""
        return bool(self._take(_COUNT, challenge, name))

    def _again(self, those: Collection[Challenge]) -> list[Challenge]:
        return [each for one in those if (each := read(self.connection, one.id)) is not None]

    def _is_user(self, name: str) -> bool:
        return _USER.first(self.connection, {"user": name}) is not None

    def _key_type(self, attempt: Attempt) -> str | None:
        """The type of the user's registered key, whatever the agent called it: amr is our own statement."""
        mine = {"fingerprint": attempt.fingerprint or "", "user": attempt.user, "now": self.now}
        key = _KEY_TYPE.first(self.connection, mine)
        return None if key is None else key.type

    def _note_use(self, attempt: Attempt) -> None:
        use = {"the_fingerprint": attempt.fingerprint or "", "now": self.now, "client_ip": attempt.client_ip}
        _NOTE_USE.all(self.connection, use)

    def _record(self, event: str, those: Collection[Challenge], facts: Facts | None = None) -> None:
        for each in those:
            record_challenge(self.connection, event, each, self.now, **(facts or {}))


def _facts(attempt: Attempt, key_type: str | None) -> Facts:
    """The SSH side of an audit event, where the challenge itself does not hold it."""
    return {"fingerprint": attempt.fingerprint, "key_type": key_type, "ssh_address": attempt.client_ip}


def _choose(codes: Codes, code: str | None, undecided: Collection[Challenge]) -> Challenge | Verdict:
    """Which of them is meant; they are in the order in which they were opened."""
    of = {binding: [each for each in undecided if each.binding is binding] for binding in Binding}
    if code is not None and (of[Binding.CODE_IN] or not undecided):
        right = [each for each in of[Binding.CODE_IN] if codes.matches(each.id, code, each.code_hmac)]
        return right[0] if right else Verdict.INVALID_CODE
    if of[Binding.CODE_BACK]:  # the last one opened; the person is told what it is for
        return of[Binding.CODE_BACK][-1]
    if of[Binding.CODE_IN]:
        return Verdict.CODE_REQUIRED
    # Without any binding there is nothing to choose by, and who brings a code means another login.
    unbound = of[Binding.NONE]
    return unbound[0] if len(unbound) == 1 and code is None else Verdict.NO_CHALLENGE
