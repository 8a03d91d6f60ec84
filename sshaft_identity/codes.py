"""Codes: what the page shows and the person carries to ssh. Nothing in the database is enough to compute one."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

DIGITS = 6


@dataclass(frozen=True, slots=True)
class Codes:
    """Makes and checks codes with the service's own key (`hmac.key`, 32 random bytes)."""

    key: bytes = field(repr=False)

    def of_page(self, page_token: str) -> str:
        """The code of the page at this address: 6 decimal digits.

        64 bits modulo 10^6: the most likely code is more likely than the least by a factor below 1 + 2^-44.
        """
        number = int.from_bytes(self._mac("code", page_token)[:8])
        return f"{number % 10**DIGITS:0{DIGITS}}"

    def sealed(self, challenge_id: str, code: str) -> str:
        """What is stored: bound to its challenge, so that equal codes do not look equal."""
        return self._mac("check", challenge_id, code).hex()

    def matches(self, challenge_id: str, code: str, sealed: str) -> bool:
        """In constant time."""
        return hmac.compare_digest(self.sealed(challenge_id, code), sealed)

    def _mac(self, *parts: str) -> bytes:
        return hmac.digest(self.key, "\0".join(parts).encode(), "sha256")


def new_page_token() -> str:
    """The unguessable part of a page's address, 128 bits from the system's CSPRNG. Only `digest` of it is stored."""
    return secrets.token_urlsafe(16)


def digest(value: str) -> str:
    """SHA-256, hex. For values of 128 random bits or more: there is nothing to guess, so nothing to slow down."""
    return hashlib.sha256(value.encode()).hexdigest()


def attempt_name(idempotency_key: str | None, code: str | None) -> str | None:
    """One attempt is one idempotency key with one code: a key that comes with another code is another attempt."""
    return None if idempotency_key is None else digest(f"{idempotency_key}\0{code or ''}")
