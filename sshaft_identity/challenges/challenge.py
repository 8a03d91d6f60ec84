"""The challenge: one web login that waits for one SSH login. States and judgements only; no clock, no database.

    pending -> accepted -> consumed
    pending -> rejected | expired | cancelled

`challenges` keeps them; this module says what may happen to one.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sshaft_identity.common.addresses import is_same_source
from sshaft_identity.common.times import latest_begin

MAX_TRIES = 5
MIN_LIFETIME = timedelta(seconds=30)
MAX_LIFETIME = timedelta(minutes=10)  # NIST SP 800-63B-4 §3.1.3


class Binding(StrEnum):
    """How the web login and the SSH login are tied together (docs/identity-api.md)."""

    CODE_IN = "code_in"
    """The page shows a code, ssh brings it."""
    CODE_BACK = "code_back"
    """ssh is given a code, the person types it where the web login asks."""
    NONE = "none"
    """Not at all: any SSH login of the user passes. NIST SP 800-63B-4 §3.1.3 no longer accepts it."""


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
    """What one attempt comes to; the values are the `error` members of the wire, but for `accepted` and `presented`."""

    ACCEPTED = "accepted"
    CODE_REQUIRED = "code_required"
    INVALID_CODE = "invalid_code"
    PRESENTED = "presented"
    CONFIRM_REQUIRED = "confirm_required"
    ADDRESS_MISMATCH = "address_mismatch"
    VERIFICATION_REQUIRED = "verification_required"
    UNKNOWN_KEY = "unknown_key"
    NO_CHALLENGE = "no_challenge"
    ALREADY_USED = "already_used"
    EXPIRED = "expired"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    TOO_MANY_ATTEMPTS = "too_many_attempts"


@dataclass(frozen=True, slots=True)
class Context:
    """What is being approved, in the words of the party that started the login: foreign text. `return_url`, checked, is
    where the page leads back to.
    """

    app: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    return_url: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What the accepted SSH login proved. Without a registered key both key members are None. `verified`: sshd made
    the security key ask for its PIN or a finger.
    """

    accepted_at: datetime
    fingerprint: str | None
    key_type: str | None
    client_ip: str | None
    verified: bool = False

    @property
    def amr(self) -> list[str]:
        return amr(self.key_type, verified=self.verified)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One row. `client` is the client that opened it, None when the operator or the service itself did; `user` is None
    where nobody was named and nobody has passed it yet: then the owner of the key that brings the code is the subject.
    `attempt` names the last try.
    """

    id: str
    user: str | None
    client: str | None
    context: Context
    created_at: datetime
    expires_at: datetime
    binding: Binding = Binding.CODE_IN
    verify_required: bool = False
    state: State = State.PENDING
    tries: int = 0
    attempt: str | None = field(default=None, repr=False)
    code_hmac: str = field(default="", repr=False)
    code_index: str | None = field(default=None, repr=False)
    shown_at: datetime | None = None
    presented_at: datetime | None = None
    approval: Approval | None = None

    def state_at(self, now: datetime) -> State:
        """The state, where nobody had to write `expired` down for it to be so."""
        if self.state is State.PENDING and is_over(self.created_at, self.expires_at, now):
            return State.EXPIRED
        return self.state

    @property
    def attempts_left(self) -> int:
        return max(0, MAX_TRIES - self.tries)

    @property
    def is_anonymous(self) -> bool:
        """Opened without a user: its code alone finds it, and is longer for that."""
        return self.code_index is not None

    @property
    def acr(self) -> str | None:
        return None if self.approval is None else acr(self.binding, verified=self.approval.verified)


def is_over(created_at: datetime, expires_at: datetime, now: datetime) -> bool:
    """Whether a challenge that was open from then to then has had its time, also where the clock was put back since."""
    return now >= expires_at or created_at > latest_begin(now)


def may_become(state: State, wanted: State) -> bool:
    return wanted in TRANSITIONS[state]


def verdict_before_code(challenge: Challenge, attempt: str | None, now: datetime) -> Verdict | None:
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


def amr(key_type: str | None, *, verified: bool = False) -> list[str]:
    """RFC 8176: what a key of this type proves when sshd asks for a touch, as it does by default.

    A smartcard cannot be told from a key in a file, so both are `swk`. `mfa` only where sshd enforced
    `verify-required`: then the key and what unlocked it were both seen.
    """
    if key_type is not None and key_type.startswith("sk-"):
        return ["hwk", "pop", "user", *(["mfa"] if verified else [])]
    return ["swk", "pop"]


def acr(binding: Binding, *, verified: bool) -> str | None:
    """Our own names. Without a binding there is nothing to claim: nobody knows whose web login was passed."""
    if binding is Binding.NONE:
        return None
    return "urn:sshaft:acr:verified-code" if verified else "urn:sshaft:acr:code"


class AddressCheck(StrEnum):
    """What it means that browser and ssh come from different addresses: nothing, a question, or a no."""

    OFF = "off"
    WARN = "warn"
    REQUIRE = "require"


def address_verdict(check: AddressCheck, browser: str | None, ssh: str | None, *, confirmed: bool) -> Verdict | None:
    """Why the pass must not count yet. An address that is not known differs from nothing; `require` wants to know."""
    match check:
        case AddressCheck.REQUIRE if not is_same_source(browser, ssh):
            return Verdict.ADDRESS_MISMATCH
        case AddressCheck.WARN if browser and ssh and not confirmed and not is_same_source(browser, ssh):
            return Verdict.CONFIRM_REQUIRED
        case _:
            return None
