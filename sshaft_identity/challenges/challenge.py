"""Decides what may happen to a challenge, one web login that waits for one SSH login.

    pending -> accepted -> consumed
    pending -> rejected | expired | cancelled
    accepted -> cancelled        the key that passed it was removed, or its user or client

The module uses no clock and no database.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sshaft_identity.challenges.codes import ANONYMOUS_DIGITS, DIGITS
from sshaft_identity.common.addresses import is_same_source
from sshaft_identity.common.times import latest_begin

MAX_TRIES = 5
MIN_LIFETIME = timedelta(seconds=30)
MAX_LIFETIME = timedelta(minutes=10)  # NIST SP 800-63B-4 §3.1.3
RESULT_GRACE = timedelta(minutes=1)
"""The result of a login can be taken this long after the login expired, for a login that passed at the last moment."""


class Binding(StrEnum):
    """Says how the web login and the SSH login are tied together (docs/identity-api.md)."""

    CODE_IN = "code_in"
    """The page shows a code, and the person brings it to ssh."""
    CODE_BACK = "code_back"
    """ssh shows a code, and the person types it into the web login."""
    NONE = "none"
    """Nothing ties them: any SSH login of the user passes. NIST SP 800-63B-4 §3.1.3 no longer accepts this."""


class State(StrEnum):
    PENDING = "pending"
    ACCEPTED = "accepted"
    CONSUMED = "consumed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.ACCEPTED, State.REJECTED, State.EXPIRED, State.CANCELLED}),
    State.ACCEPTED: frozenset({State.CONSUMED, State.CANCELLED}),
    State.CONSUMED: frozenset(),
    State.REJECTED: frozenset(),
    State.EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
}


class Verdict(StrEnum):
    """The result of one attempt. All values but `accepted` and `presented` are `error` members of the API."""

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
    OTHER_USER = "other_user"
    """The code is right, but it belongs to the login of another person."""
    NOT_PRESENTED = "not_presented"
    """ssh has not shown the code of this login yet, so no typed code can be right."""
    CHOICE_REQUIRED = "choice_required"
    """Several logins wait for ssh to show their code: the person must choose one."""
    TOO_MANY_ATTEMPTS = "too_many_attempts"


@dataclass(frozen=True, slots=True)
class Context:
    """Describes the web login in the client's own, untrusted words. Only `return_url` is checked."""

    app: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    return_url: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """Holds what the accepted SSH login proved. Without a registered key, `fingerprint` and `key_type` are None.

    `verified`: sshd made the security key ask for its PIN or a fingerprint of the person.
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
    """One row of the table.

    `user` is None while the challenge names no user: then it becomes the owner of the key that brings the code.
    `hint` is the user that an unauthenticated request named: no other user may pass, but nothing else depends on it.
    `client` opened the challenge; None: the operator or the service did. `attempt` names the last try.
    """

    id: str
    user: str | None
    client: str | None
    context: Context
    created_at: datetime
    expires_at: datetime
    binding: Binding = Binding.CODE_IN
    verify_required: bool = False
    hint: str | None = None
    state: State = State.PENDING
    tries: int = 0
    attempt: str | None = field(default=None, repr=False)
    code_hmac: str = field(default="", repr=False)
    code_index: str | None = field(default=None, repr=False)
    shown_at: datetime | None = None
    presented_at: datetime | None = None
    approval: Approval | None = None

    def state_at(self, now: datetime) -> State:
        """Returns the state at `now`. A challenge or its result expires before the database says so."""
        if self.state is State.PENDING and is_over(self.created_at, self.expires_at, now):
            return State.EXPIRED
        if self.state is State.ACCEPTED and now >= self.expires_at + RESULT_GRACE:
            return State.EXPIRED
        return self.state

    @property
    def attempts_left(self) -> int:
        return max(0, MAX_TRIES - self.tries)

    @property
    def digits(self) -> int:
        """The length of the code. A code that alone finds its challenge is longer."""
        return DIGITS if self.code_index is None else ANONYMOUS_DIGITS

    @property
    def is_anonymous(self) -> bool:
        """Whether the challenge was opened without a user."""
        return self.code_index is not None and self.binding is Binding.CODE_IN

    @property
    def acr(self) -> str | None:
        return None if self.approval is None else acr(self.binding, verified=self.approval.verified)


def is_over(created_at: datetime, expires_at: datetime, now: datetime) -> bool:
    """Whether the time of a challenge is over, also if the clock was set back since its opening."""
    return now >= expires_at or created_at > latest_begin(now)


def may_become(state: State, wanted: State) -> bool:
    return wanted in TRANSITIONS[state]


def verdict_before_code(challenge: Challenge, attempt: str | None, now: datetime) -> Verdict | None:
    """Returns the verdict that the state alone gives; None: the code decides.

    `attempt` is the name of the attempt, or None. An attempt that was judged before gets the same verdict again.
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
    """Returns the methods (RFC 8176) that a key of this type proves. sshd asks for a touch by default.

    sshd cannot distinguish a smartcard from a key in a file, so both are `swk`. `mfa` needs `verify-required`:
    only then did sshd check both the key and the PIN or finger.
    """
    if key_type is not None and key_type.startswith("sk-"):
        return ["hwk", "pop", "user", *(["mfa"] if verified else [])]
    return ["swk", "pop"]


def acr(binding: Binding, *, verified: bool) -> str | None:
    """Returns one of our own `acr` values. Without a binding returns None: the web login may be another person's."""
    if binding is Binding.NONE:
        return None
    return "urn:sshaft:acr:verified-code" if verified else "urn:sshaft:acr:code"


class AddressCheck(StrEnum):
    """Says what happens if browser and ssh have different addresses: nothing, a question, or a refusal."""

    OFF = "off"
    WARN = "warn"
    REQUIRE = "require"


def address_verdict(check: AddressCheck, browser: str | None, ssh: str | None, *, confirmed: bool) -> Verdict | None:
    """Returns the verdict for different sources, or None. Only `require` refuses an unknown address."""
    match check:
        case AddressCheck.REQUIRE if not is_same_source(browser, ssh):
            return Verdict.ADDRESS_MISMATCH
        case AddressCheck.WARN if browser and ssh and not confirmed and not is_same_source(browser, ssh):
            return Verdict.CONFIRM_REQUIRED
        case _:
            return None
