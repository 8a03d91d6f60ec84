"""Makes and reads tickets: words that stand in a key line instead of outside text, and that only this agent can make.

sshd asks for a line whenever somebody offers a public key, so everybody can have lines made. The agent therefore keeps
nothing of a ticket that it makes. The ticket carries its facts and a keyed hash over these facts and the key.
"""

import base64
import binascii
import hmac
import secrets
import struct
from dataclasses import dataclass
from enum import IntEnum

from sshaft.public_key import PublicKey

LIFETIME = 120.0
"""The longest lifetime in seconds. A ticket ends earlier if its challenge ends earlier."""
_FACTS = struct.Struct(">Bd16s8s")
_HASH_BYTES = 18


class Purpose(IntEnum):
    """The key line's purpose."""

    LOGIN = 0
    VERIFIED_LOGIN = 1
    """The line has `verify-required`: sshd has checked the PIN or the finger."""
    ENROLMENT = 2
    """The key is unregistered. Its ticket presents a code and does nothing else."""


@dataclass(frozen=True)
class Ticket:
    """One ticket. Each line that sshd gets has its own. `request_id` names the login in the logs."""

    purpose: Purpose
    request_id: str
    """32 hexadecimal digits."""
    expires_at: float
    """A time of the monotonic clock."""
    owner: bytes = bytes(8)
    """`Tickets.owner` of the user whose key it is. An unregistered key has no user."""


class Tickets:
    """Makes tickets, and reads those that it has made itself."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def write(self, ticket: Ticket, key: PublicKey) -> str:
        """Returns the word for the line of `key`. It is valid for this key only."""
        facts = _FACTS.pack(ticket.purpose, ticket.expires_at, bytes.fromhex(ticket.request_id), ticket.owner)
        # A letter stands in front because base64url may begin with "-", which option parsers read as an option.
        return "t" + base64.urlsafe_b64encode(facts + self._hash(facts, key)).decode()

    def read(self, word: str, key: PublicKey, now: float) -> Ticket | None:
        """Returns the ticket if this agent made it for this key and it is still valid. `now` is the monotonic clock."""
        try:
            data = base64.b64decode(word[1:], altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        facts, found = data[: _FACTS.size], data[_FACTS.size :]
        if not word.startswith("t") or not hmac.compare_digest(found, self._hash(facts, key)):
            return None
        purpose, expires_at, request_id, owner = _FACTS.unpack(facts)
        return Ticket(Purpose(purpose), request_id.hex(), expires_at, owner) if now < expires_at else None

    def owner(self, user: str) -> bytes:
        """Returns what stands for the user in a ticket. Other accounts can read tickets, but not compute this."""
        return hmac.digest(self._secret, b"owner" + user.encode(), "sha256")[:8]

    def _hash(self, facts: bytes, key: PublicKey) -> bytes:
        return hmac.digest(self._secret, b"ticket" + facts + str(key).encode(), "sha256")[:_HASH_BYTES]
