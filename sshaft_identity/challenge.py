"""The challenge: one web login that waits for one SSH login. States and judgements only; no clock, no database.

    pending -> accepted -> consumed
    pending -> rejected | expired | cancelled

`challenges` keeps them; this module says what may happen to one.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

MAX_TRIES = 5
SHORTEST = timedelta(seconds=30)
LONGEST = timedelta(minutes=10)  # NIST SP 800-63B-4 §3.1.3
BINDING = "code_in"


class State(StrEnum):
    PENDING = "pending"
    ACCEPTED = "accepted"
    CONSUMED = "consumed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.ACCEPTED, State.REJECTED, State.EXPIRED, State.CANCELLED}),
    State.ACCEPTED: frozenset({State.CONSUMED}),
    State.CONSUMED: frozenset(),
    State.REJECTED: frozenset(),
    State.EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
}


class Verdict(StrEnum):
    """What one attempt to accept comes to; the values are the `error` members of the wire, but for the first."""

    ACCEPTED = "accepted"
    CODE_REQUIRED = "code_required"
    INVALID_CODE = "invalid_code"
    UNKNOWN_KEY = "unknown_key"
    NO_CHALLENGE = "no_challenge"
    ALREADY_USED = "already_used"
    EXPIRED = "expired"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    TOO_MANY_ATTEMPTS = "too_many_attempts"


@dataclass(frozen=True, slots=True)
class Context:
    """What is being approved, in the words of the party that started the login: foreign text."""

    app: str | None = None
    ip: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What the accepted SSH login proved. Without a registered key both key members are None."""

    accepted_at: datetime
    fingerprint: str | None
    key_type: str | None
    client_ip: str | None

    @property
    def amr(self) -> list[str]:
        return amr(self.key_type)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One row. `client` is the client that opened it, None when the operator did; `attempt` names the last try."""

    id: str
    user: str
    client: str | None
    context: Context
    created_at: datetime
    expires_at: datetime
    state: State = State.PENDING
    tries: int = 0
    attempt: str | None = field(default=None, repr=False)
    code_hmac: str = field(default="", repr=False)
    approval: Approval | None = None

    def state_at(self, now: datetime) -> State:
        """The state, where nobody had to write `expired` down for it to be so."""
        if self.state is State.PENDING and now >= self.expires_at:
            return State.EXPIRED
        return self.state

    @property
    def attempts_left(self) -> int:
        return max(0, MAX_TRIES - self.tries)


def may_become(state: State, wanted: State) -> bool:
    return wanted in TRANSITIONS[state]


def standing(challenge: Challenge, attempt: str | None, now: datetime) -> Verdict | None:
    """How an attempt to accept ends before its code is looked at; None: the code decides.

    `attempt` is None for one that has no name. One that was judged before is answered as it was then.
    """
    again = attempt is not None and challenge.attempt == attempt
    match challenge.state_at(now):
        case State.PENDING:
            return Verdict.INVALID_CODE if again else None
        case State.ACCEPTED | State.CONSUMED:
            return Verdict.ACCEPTED if again else Verdict.ALREADY_USED
        case State.REJECTED if challenge.tries >= MAX_TRIES:
            return Verdict.INVALID_CODE if again else Verdict.TOO_MANY_ATTEMPTS
        case State.REJECTED:
            return Verdict.REJECTED
        case State.EXPIRED:
            return Verdict.EXPIRED
        case State.CANCELLED:
            return Verdict.CANCELLED


def amr(key_type: str | None) -> list[str]:
    """RFC 8176: what a key of this type proves when sshd asks for a touch, as it does by default.

    A smartcard cannot be told from a key in a file, so both are `swk`. Never `mfa`: one factor was seen.
    """
    if key_type is not None and key_type.startswith("sk-"):
        return ["hwk", "pop", "user"]
    return ["swk", "pop"]
