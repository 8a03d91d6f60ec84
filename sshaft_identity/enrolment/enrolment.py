"""TODO docstring of sshaft_identity.enrolment.enrolment."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sshaft.log import get_logger
from sshaft.public_key import PublicKey
from sshaft_identity.common.times import latest_begin
from sshaft_identity.people.key_policy import KeyRefusal


class State(StrEnum):
    OPEN = "open"
    PRESENTED = "presented"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    """What became of a key that was presented or confirmed. But for the first two they name a problem on the wire."""

    PRESENTED = "presented"
    CONFIRMED = "confirmed"
    INVALID_CODE = "invalid_code"
    TOO_MANY = "too_many_attempts"
    NONE = "no_enrolment"
    ANOTHER = "already_presented"
    TAKEN = "key_taken"
    OWN = "already_registered"
    REFUSED = "key_refused"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One enrolment. `key` is there from `presented` on; `name` is what the key's file called it: foreign text."""

    id: str
    user: str
    state: State
    invited_by: str | None
    created_at: datetime
    expires_at: datetime
    presented_at: datetime | None = None
    key: PublicKey | None = None
    name: str = ""
    source: str | None = None
    client_ip: str | None = None

    def state_at(self, now: datetime) -> State:
        over = self.expires_at <= now or self.created_at > latest_begin(now)
        return State.EXPIRED if over and self.state in (State.OPEN, State.PRESENTED) else self.state


@dataclass(frozen=True, slots=True)
class OpenedEnrolment:
    """A new enrolment with what exists only now: its code and its page's token."""

    enrolment: Enrolment
    code: str = field(repr=False)
    page_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Presentation:
    """A key whose holder has just proven to have it."""

    key: PublicKey
    client_ip: str | None = None
    source: str = "ssh"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    enrolment: Enrolment | None = None
    refusal: KeyRefusal | None = None
    retry_at: datetime | None = None


def log_outcome(outcome: Outcome, what: Presentation, **facts: str) -> None:
    enrolment = outcome.enrolment
    names = {
        Verdict.PRESENTED: "enrolment.presented",
        Verdict.INVALID_CODE: "enrolment.wrong_code",
        Verdict.CONFIRMED: "key.enrolled",
    }
    get_logger().info(
        names.get(outcome.verdict, "enrolment.not_presented"),
        verdict=outcome.verdict,
        reason=outcome.refusal,
        enrolment=enrolment and enrolment.id,
        user=enrolment and enrolment.user,
        fingerprint=what.key.fingerprint,
        key_type=what.key.type,
        source=what.source,
        client_ip=what.client_ip,
        **facts,
    )


def hyphenate(code: str) -> str:
    """`5821-7741`: two groups are easier to carry than eight digits."""
    return f"{code[:4]}-{code[4:]}"
