"""Tickets: what the key line carries instead of outside text. Random, bound, short-lived, good for one pass."""

import secrets
from dataclasses import dataclass

from sshaft.listing import Grant

LIFETIME = 120.0
"""Seconds, at most; less where the challenge ends earlier."""
REISSUED_WITH = 60.0
"""A ticket with at least this many seconds left is given out again for the same grant: sshd asks twice a login, and a
stranger who offers somebody's public key again and again must not fill our memory."""
MAX_TICKETS = 20_000


@dataclass(frozen=True)
class Ticket:
    """`secret` goes into the key line; `request_id` names the login in every log and in the Idempotency-Key."""

    secret: str
    request_id: str
    grant: Grant
    expires_at: float
    """Monotonic."""


class Tickets:
    """The tickets that are out. Used from one thread; `now` is the monotonic clock."""

    def __init__(self) -> None:
        self._by_secret: dict[str, Ticket] = {}
        self._by_grant: dict[Grant, Ticket] = {}

    def __len__(self) -> int:
        return len(self._by_secret)

    def issue(self, grant: Grant, request_id: str, now: float, lifetime: float = LIFETIME) -> Ticket | None:
        """A ticket for `grant`, a fresh one or the one that is out; None when too many are out."""
        current = self._by_grant.get(grant)
        if current is not None and current.expires_at - now >= min(REISSUED_WITH, lifetime / 2):
            return current
        if len(self._by_secret) >= MAX_TICKETS:
            self.purge(now)
            if len(self._by_secret) >= MAX_TICKETS:
                return None
        # The letter in front: base64url may begin with "-", which every option parser reads as an option.
        ticket = Ticket("t" + secrets.token_urlsafe(18), request_id, grant, now + min(lifetime, LIFETIME))
        self._by_secret[ticket.secret] = ticket
        self._by_grant[grant] = ticket
        return ticket

    def peek(self, secret: str, now: float) -> Ticket | None:
        """The ticket, if it is still good. Leaves it so."""
        ticket = self._by_secret.get(secret)
        return ticket if ticket is not None and now < ticket.expires_at else None

    def take(self, secret: str, now: float) -> Ticket | None:
        """The ticket, if it is still good; from now on it is not."""
        ticket = self.peek(secret, now)
        self._forget(secret)
        return ticket

    def put_back(self, ticket: Ticket) -> None:
        """It was taken, and nothing has come of it yet: it is good again, as long as it would have been."""
        self._by_secret[ticket.secret] = ticket

    def purge(self, now: float) -> None:
        for secret in [t.secret for t in self._by_secret.values() if t.expires_at <= now]:
            self._forget(secret)

    def _forget(self, secret: str) -> None:
        ticket = self._by_secret.pop(secret, None)
        if ticket is not None and self._by_grant.get(ticket.grant) is ticket:
            del self._by_grant[ticket.grant]
