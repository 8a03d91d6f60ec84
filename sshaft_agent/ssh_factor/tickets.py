"""Issues and redeems tickets: random one-time words that stand in a key line instead of outside text."""

import secrets
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

LIFETIME = 120.0
"""The longest lifetime in seconds. A ticket ends earlier if its challenge ends earlier."""
_REISSUE_SECONDS = 60.0
"""A ticket with this many seconds left is issued again for the same grant. sshd asks twice a login, and strangers who
offer somebody's public key again and again must not fill the memory."""
MAX_TICKETS = 20_000

GrantT = TypeVar("GrantT", bound=Hashable)


@dataclass(frozen=True)
class Ticket(Generic[GrantT]):
    """One ticket. The key line carries `secret`; logs and the Idempotency-Key carry `request_id`."""

    secret: str
    request_id: str
    grant: GrantT
    expires_at: float
    """A time of the monotonic clock."""


class Tickets(Generic[GrantT]):
    """Holds the valid tickets, at most `limit`. Used from one thread; `now` is the monotonic clock."""

    def __init__(self, limit: int = MAX_TICKETS) -> None:
        self._limit = limit
        self._by_secret: dict[str, Ticket[GrantT]] = {}
        self._by_grant: dict[GrantT, Ticket[GrantT]] = {}

    def __len__(self) -> int:
        return len(self._by_secret)

    def issue(self, grant: GrantT, request_id: str, now: float, lifetime: float = LIFETIME) -> Ticket[GrantT] | None:
        """Returns a new ticket for `grant`, or its present one; None when too many tickets are out."""
        current = self._by_grant.get(grant)
        if current is not None and current.expires_at - now >= min(_REISSUE_SECONDS, lifetime / 2):
            return current
        if len(self._by_secret) >= self._limit:
            self.purge(now)
            if len(self._by_secret) >= self._limit:
                return None
        # A letter stands in front because base64url may begin with "-", which option parsers read as an option.
        ticket = Ticket("t" + secrets.token_urlsafe(18), request_id, grant, now + min(lifetime, LIFETIME))
        self._by_secret[ticket.secret] = ticket
        self._by_grant[grant] = ticket
        return ticket

    def peek(self, secret: str, now: float) -> Ticket[GrantT] | None:
        """Returns the ticket if it is still valid, and leaves it valid."""
        ticket = self._by_secret.get(secret)
        return ticket if ticket is not None and now < ticket.expires_at else None

    def take(self, secret: str, now: float) -> Ticket[GrantT] | None:
        """Returns the ticket if it is still valid, and spends it."""
        ticket = self.peek(secret, now)
        self._forget(secret)
        return ticket

    def put_back(self, ticket: Ticket[GrantT]) -> None:
        """Makes a ticket valid again after `take`. Its end does not change."""
        self._by_secret[ticket.secret] = ticket

    def purge(self, now: float) -> None:
        """Removes the expired tickets."""
        for secret in [t.secret for t in self._by_secret.values() if t.expires_at <= now]:
            self._forget(secret)

    def _forget(self, secret: str) -> None:
        ticket = self._by_secret.pop(secret, None)
        if ticket is not None and self._by_grant.get(ticket.grant) is ticket:
            del self._by_grant[ticket.grant]
