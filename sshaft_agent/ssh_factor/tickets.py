"""Tickets: what the key line carries instead of outside text. Random, bound, short-lived, good for one pass."""

import secrets
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

LIFETIME = 120.0
"""Seconds, at most; less where the challenge ends earlier."""
REISSUED_WITH = 60.0
"""A ticket with at least this many seconds left is given out again for the same grant: sshd asks twice a login, and a
stranger who offers somebody's public key again and again must not fill our memory."""
MAX_TICKETS = 20_000

AGrant = TypeVar("AGrant", bound=Hashable)


@dataclass(frozen=True)
class Ticket(Generic[AGrant]):
    """`secret` goes into the key line; `request_id` names the login in every log and in the Idempotency-Key."""

    secret: str
    request_id: str
    grant: AGrant
    expires_at: float
    """Monotonic."""


class Tickets(Generic[AGrant]):
    """The tickets that are out. Used from one thread; `now` is the monotonic clock."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._by_secret: dict[str, Ticket[AGrant]] = {}
        self._by_grant: dict[AGrant, Ticket[AGrant]] = {}

    def __len__(self) -> int:
        return len(self._by_secret)

    def issue(self, grant: AGrant, request_id: str, now: float, lifetime: float = LIFETIME) -> Ticket[AGrant] | None:
        """A ticket for `grant`, a fresh one or the one that is out; None when too many are out."""
        current = self._by_grant.get(grant)
        if current is not None and current.expires_at - now >= min(REISSUED_WITH, lifetime / 2):
            return current
        most = MAX_TICKETS if self._most is None else self._most
        if len(self._by_secret) >= most:
            self.purge(now)
            if len(self._by_secret) >= most:
                return None
        # The letter in front: base64url may begin with "-", which every option parser reads as an option.
        ticket = Ticket("t" + secrets.token_urlsafe(18), request_id, grant, now + min(lifetime, LIFETIME))
        self._by_secret[ticket.secret] = ticket
        self._by_grant[grant] = ticket
        return ticket

    def peek(self, secret: str, now: float) -> Ticket[AGrant] | None:
        """The ticket, if it is still good. Leaves it so."""
        ticket = self._by_secret.get(secret)
        return ticket if ticket is not None and now < ticket.expires_at else None

    def take(self, secret: str, now: float) -> Ticket[AGrant] | None:
        """The ticket, if it is still good; from now on it is not."""
        ticket = self.peek(secret, now)
        self._forget(secret)
        return ticket

    def put_back(self, ticket: Ticket[AGrant]) -> None:
        """It was taken, and nothing has come of it yet: it is good again, as long as it would have been."""
        self._by_secret[ticket.secret] = ticket

    def purge(self, now: float) -> None:
        for secret in [t.secret for t in self._by_secret.values() if t.expires_at <= now]:
            self._forget(secret)

    def _forget(self, secret: str) -> None:
        ticket = self._by_secret.pop(secret, None)
        if ticket is not None and self._by_grant.get(ticket.grant) is ticket:
            del self._by_grant[ticket.grant]
