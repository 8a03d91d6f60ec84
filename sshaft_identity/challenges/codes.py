"""Codes: what the page shows and the person carries to ssh. Nothing in the database is enough to compute one."""

import base64
import hmac
import re
from dataclasses import dataclass, field

from sshaft_identity.common.digests import digest

DIGITS = 6
ANONYMOUS_DIGITS = 8
"""Where the code alone finds its challenge or its enrolment, whoever brings it."""
_GIVEN = re.compile(r"[0-9]{6,8}")


@dataclass(frozen=True, slots=True)
class Codes:
    """Makes and checks codes with the service's own key (`hmac.key`, 32 random bytes)."""

    key: bytes = field(repr=False)

    def of_page(self, page_token: str, digits: int = DIGITS) -> str:
        """The code of the page at this address.

        64 bits modulo 10^8: the most likely code is more likely than the least by a factor below 1 + 2^-37.
        """
        return self._digits(digits, "code", page_token)

    def given_back(self, challenge_id: str) -> str:
        """`code_back`: what ssh shows the person who holds a key. The same for one challenge, however often asked."""
        return self._digits(DIGITS, "back", challenge_id)

    def index(self, code: str) -> str:
        """What finds a challenge by its code alone."""
        return self._mac("index", code).hex()

    def _digits(self, count: int, *parts: str) -> str:
        return f"{int.from_bytes(self._mac(*parts)[:8]) % 10**count:0{count}}"

    def code_hmac(self, challenge_id: str, code: str) -> str:
        """What is stored: bound to its challenge, so that equal codes do not look equal."""
        return self._mac("check", challenge_id, code).hex()

    def matches(self, challenge_id: str, code: str, code_hmac: str) -> bool:
        """In constant time."""
        return hmac.compare_digest(self.code_hmac(challenge_id, code), code_hmac)

    def matches_given_back(self, challenge_id: str, code: str) -> bool:
        """In constant time."""
        return hmac.compare_digest(self.given_back(challenge_id).encode(), code.encode())

    def shared(self, *parts: str) -> str:
        """A secret to share with another party, 256 bits, for which nothing is stored."""
        return base64.urlsafe_b64encode(self._mac("shared", *parts)).decode().rstrip("=")

    def _mac(self, *parts: str) -> bytes:
        return hmac.digest(self.key, "\0".join(parts).encode(), "sha256")


def is_code(text: str) -> bool:
    """Whether a client may choose it as the code of its challenge."""
    return _GIVEN.fullmatch(text) is not None


def attempt_name(idempotency_key: str | None, code: str | None) -> str | None:
    """One attempt is one idempotency key with one code: a key that comes with another code is another attempt."""
    return None if idempotency_key is None else digest(f"{idempotency_key}\0{code or ''}")
