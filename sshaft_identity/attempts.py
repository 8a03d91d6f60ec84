"""One attempt to accept a challenge, judged in one transaction: the moment at which an SSH login counts.

Every step is one conditional UPDATE whose row count decides, so that of many who try at once exactly one succeeds, on
SQLite and PostgreSQL alike.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, or_, select, update

from sshaft_identity.challenge import MAX_TRIES, Approval, Challenge, State, Verdict, standing
from sshaft_identity.challenge_rows import is_pending, of_user, read_again, read_all
from sshaft_identity.codes import Codes
from sshaft_identity.tables import challenges, ssh_keys, users


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


def judge(connection: Connection, codes: Codes, attempt: Attempt, now: datetime) -> Answer:
    """A wrong code counts against every challenge that it may have been meant for."""
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
    right = [each for each in undecided if codes.matches(each.id, attempt.code, each.code_hmac)]
    if right:
        approval = Approval(now, attempt.fingerprint, key_type, attempt.client_ip)
        done = _accept(connection, right[0], attempt, approval)
        concerned = right[:1]
    else:
        done = False not in [_count_wrong(connection, each, attempt, now) for each in undecided]
        concerned = undecided
    after = read_again(connection, concerned)
    if not done:  # somebody was faster: their step stands, and this attempt meets what they left
        return _settled(after, attempt, now)
    return Answer(Verdict.ACCEPTED if right else Verdict.INVALID_CODE, tuple(after))


def _candidates(connection: Connection, attempt: Attempt, now: datetime) -> list[Challenge]:
    """What the attempt may have been meant for: the named one; else those judged by this very attempt before; else all
    pending ones of the user; else the last one that would still run, so that "too late" can say why.
    """
    mine = of_user(attempt.user)
    if attempt.challenge is not None:
        return read_all(connection, mine.where(challenges.c.id == attempt.challenge))
    if attempt.name is not None:
        before = read_all(connection, mine.where(challenges.c.attempt == attempt.name))
        if before:
            return before
    alive = mine.where(challenges.c.expires_at > now)
    last = alive.order_by(None).order_by(challenges.c.created_at.desc()).limit(1)
    return read_all(connection, alive.where(is_pending)) or read_all(connection, last)


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
        is_pending,
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
        is_pending,
        challenges.c.expires_at > now,
        challenges.c.tries < MAX_TRIES,
        or_(challenges.c.attempt.is_(None), challenges.c.attempt != attempt.name) if attempt.name else is_pending,
    )
    state = case((challenges.c.tries + 1 >= MAX_TRIES, State.REJECTED), else_=challenges.c.state)
    result = connection.execute(counted.values(tries=challenges.c.tries + 1, attempt=attempt.name, state=state))
    return result.rowcount == 1


def _key_type(connection: Connection, attempt: Attempt) -> str | None:
    """The type of the user's registered key, whatever the agent called it: amr is our own statement."""
    query = select(ssh_keys.c.type).where(
        ssh_keys.c.fingerprint == (attempt.fingerprint or ""), ssh_keys.c.user_name == attempt.user
    )
    return connection.scalar(query)
