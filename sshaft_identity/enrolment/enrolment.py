"""Defines one enrolment, its states, and the outcomes of its steps."""

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
    """The outcome of a step for a key. All but `presented` and `confirmed` are problem codes of the identity API."""

    PRESENTED = "presented"
    CONFIRMED = "confirmed"
    INVALID_CODE = "invalid_code"
    TOO_MANY = "too_many_attempts"
    NONE = "no_enrolment"
    ANOTHER = "already_presented"
    TAKEN = "key_taken"
    OWN = "already_registered"
    REFUSED = "key_refused"
    APPROVAL_REQUIRED = "approval_required"
    """An existing key of the person must approve the new key. Only the page knows this verdict."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One enrolment. It has a `key` from `presented` on. `name` is foreign text: the comment in the key's file.

    `opened_in` is the method of the session in which the person opened it; None: an invitation. `approval` is the
    challenge that an existing key must pass.
    """

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
    opened_in: str | None = None
    approval: str | None = None
    attested: str | None = None

    def state_at(self, now: datetime) -> State:
        """Returns the state, or `expired` if time has ended the enrolment and no step has recorded that yet."""
        over = self.expires_at <= now or self.created_at > latest_begin(now)
        return State.EXPIRED if over and self.state in (State.OPEN, State.PRESENTED) else self.state


@dataclass(frozen=True, slots=True)
class OpenedEnrolment:
    """A new enrolment, its code and the token of its page. The database holds only digests of these two."""

    enrolment: Enrolment
    code: str = field(repr=False)
    page_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Presentation:
    """A key, with the proof of possession already checked. `source` is `ssh` or `signature`; `name` is foreign text."""

    key: PublicKey
    client_ip: str | None = None
    source: str = "ssh"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a step: `refusal` goes with a refused key, `retry_at` with too many attempts."""

    verdict: Verdict
    enrolment: Enrolment | None = None
    refusal: KeyRefusal | None = None
    retry_at: datetime | None = None


def log_outcome(outcome: Outcome, presentation: Presentation, **facts: str) -> None:
    """Logs the outcome as `enrolment.presented`, `.wrong_code`, `.not_presented`, or `key.enrolled`."""
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
        fingerprint=presentation.key.fingerprint,
        key_type=presentation.key.type,
        source=presentation.source,
        client_ip=presentation.client_ip,
        **facts,
    )


def hyphenate(code: str) -> str:
    """Returns `5821-7741` for `58217741`: two groups of digits are easier to remember than one."""
    return f"{code[:4]}-{code[4:]}"
