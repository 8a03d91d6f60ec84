"""Decides what may happen to an approval, one request of a host about one SSH login.

    pending  -> approved -> verified -> passed
    pending | approved -> denied | reported | expired | ended
    verified -> ended        the host says that the SSH login went away

The module uses no clock and no database.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sshaft_identity.challenges.challenge import AddressCheck, address_verdict, is_over
from sshaft_identity.challenges.challenge import Verdict as AddressVerdict

MAX_TRIES = 3
"""So many wrong digits end an approval."""
MIN_LIFETIME = timedelta(seconds=30)
MAX_LIFETIME = timedelta(minutes=10)
LIFETIME = timedelta(minutes=5)


class State(StrEnum):
    PENDING = "pending"
    """Nobody has answered on the page."""
    APPROVED = "approved"
    """The page shows the digits."""
    VERIFIED = "verified"
    """The host has brought the digits and has the identity. The SSH login goes on."""
    PASSED = "passed"
    DENIED = "denied"
    """The person has denied it, or too many wrong digits were typed."""
    REPORTED = "reported"
    """The person has said that they do not know this login."""
    EXPIRED = "expired"
    ENDED = "ended"
    """The SSH login went away, or the user or the host was removed."""


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.APPROVED, State.DENIED, State.REPORTED, State.EXPIRED, State.ENDED}),
    State.APPROVED: frozenset({State.VERIFIED, State.DENIED, State.REPORTED, State.EXPIRED, State.ENDED}),
    State.VERIFIED: frozenset({State.PASSED, State.ENDED}),
    State.PASSED: frozenset(),
    State.DENIED: frozenset(),
    State.REPORTED: frozenset(),
    State.EXPIRED: frozenset(),
    State.ENDED: frozenset(),
}
OPEN = (State.PENDING, State.APPROVED)
"""The states in which an approval can run out of time."""


class Verdict(StrEnum):
    """The result of pressing Approve."""

    APPROVED = "approved"
    OTHER_PERSON = "other_person"
    CONFIRM_REQUIRED = "confirm_required"
    """Browser and ssh have different addresses, and the person has not confirmed that."""
    ADDRESS_MISMATCH = "address_mismatch"
    OVER = "over"
    """The approval is no longer pending."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Describes the SSH login in the words of the host. `user` is the person who may approve it.

    `subject` is the id of the only user who may approve it. It is there if the account is bound already. `remember` is
    the number of seconds for which the host will ask for no other approval.
    """

    host: str
    service: str
    account: str
    user: str
    client_ip: str | None = None
    key_fingerprint: str | None = None
    subject: str | None = None
    remember: int | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in, and how they proved themselves. `fingerprint`: the key of a sign-in by ssh."""

    user: str
    user_id: str
    authenticated_at: datetime
    amr: tuple[str, ...] = ()
    acr: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Consent:
    """Who approves, when, and from which address. `session` names the browser's sign-in, see `sessions.hash_of`."""

    person: Person
    at: datetime
    browser_ip: str | None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """One row of the table. `client` is the host's client, which opened it."""

    id: str
    client: str
    asked: Asked
    created_at: datetime
    expires_at: datetime
    state: State = State.PENDING
    tries: int = 0
    consent: Consent | None = None

    def state_at(self, now: datetime) -> State:
        """Returns the state at `now`. An approval expires before the database says so."""
        if self.state in OPEN and is_over(self.created_at, self.expires_at, now):
            return State.EXPIRED
        return self.state

    @property
    def tries_left(self) -> int:
        return max(0, MAX_TRIES - self.tries)

    def is_for(self, user: str, user_id: str) -> bool:
        """Whether this user may approve. A subject decides alone: the host may give the account to another name."""
        return user_id == self.asked.subject if self.asked.subject is not None else user == self.asked.user


def may_become(state: State, wanted: State) -> bool:
    return wanted in TRANSITIONS[state]


def verdict_before_consent(
    approval: Approval, consent: Consent, check: AddressCheck, *, confirmed: bool
) -> Verdict | None:
    """Returns the verdict on Approve; None: the state decides.

    `confirmed`: the person has read that browser and ssh have different addresses.
    """
    if approval.state_at(consent.at) is not State.PENDING:
        return Verdict.OVER
    if not approval.is_for(consent.person.user, consent.person.user_id):
        return Verdict.OTHER_PERSON
    match address_verdict(check, consent.browser_ip, approval.asked.client_ip, confirmed=confirmed):
        case None:
            return None
        case AddressVerdict.CONFIRM_REQUIRED:
            return Verdict.CONFIRM_REQUIRED
        case _:
            return Verdict.ADDRESS_MISMATCH
