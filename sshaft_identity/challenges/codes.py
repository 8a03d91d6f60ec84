"""Makes and checks the codes that tie a web login to an SSH login. The database alone cannot reveal a code."""

import base64
import hmac
import re
from dataclasses import dataclass, field

from sshaft_identity.common.digests import digest

DIGITS = 6
ANONYMOUS_DIGITS = 8
"""The length of a code that finds its challenge or enrolment without the name of a user."""
_CHOSEN = re.compile(r"[0-9]{6,8}")


@dataclass(frozen=True, slots=True)
class Codes:
    """Makes and checks codes with the service's own key (`hmac.key`, 32 random bytes)."""

    key: bytes = field(repr=False)

    def of_page(self, page_token: str, digits: int = DIGITS) -> str:
        """Returns the code of the page with this token.

        All codes are almost equally likely: 64 bits modulo 10^8 differ by a factor below 1 + 2^-37.
        """
        return self._digits(digits, "code", page_token)

    def given_back(self, challenge_id: str, digits: int = DIGITS) -> str:
        """Returns the code of a `code_back` challenge that ssh shows. It is always the same for one challenge."""
        return self._digits(digits, "back", challenge_id)

    def index(self, code: str) -> str:
        """Returns the HMAC that finds a challenge or an enrolment by its code alone."""
        return self._mac("index", code).hex()

    def _digits(self, count: int, *parts: str) -> str:
        return f"{int.from_bytes(self._mac(*parts)[:8]) % 10**count:0{count}}"

    def code_hmac(self, challenge_id: str, code: str) -> str:
        """Returns the stored HMAC of a code. It includes the challenge, so that equal codes have different HMACs."""
        return self._mac("check", challenge_id, code).hex()

    def matches(self, challenge_id: str, code: str, code_hmac: str) -> bool:
        """Whether the code has this HMAC. Compares in constant time."""
        return hmac.compare_digest(self.code_hmac(challenge_id, code), code_hmac)

    def matches_given_back(self, challenge_id: str, code: str, digits: int = DIGITS) -> bool:
        """Whether `code` is the one that ssh showed. Compares in constant time."""
        return hmac.compare_digest(self.given_back(challenge_id, digits).encode(), code.encode())

    def shared(self, *parts: str) -> str:
        """Returns a secret of 256 bits for another party. It is computed from `parts`, so nothing is stored."""
        return base64.urlsafe_b64encode(self._mac("shared", *parts)).decode().rstrip("=")

    def _mac(self, *parts: str) -> bytes:
        return hmac.digest(self.key, "\0".join(parts).encode(), "sha256")


def is_long(code: str) -> bool:
    """Whether the code is long enough to find a challenge without a user."""
    return len(code) == ANONYMOUS_DIGITS


def is_code(text: str) -> bool:
    """Whether a client may choose this text as the code of its challenge."""
    return _CHOSEN.fullmatch(text) is not None


def attempt_name(idempotency_key: str | None, code: str | None) -> str | None:
    """Returns the name of an attempt: one idempotency key with one code. Another code makes another attempt."""
    return None if idempotency_key is None else digest(f"{idempotency_key}\0{code or ''}")
