"""Gives each client the name of a person: the user name, or a pairwise name (OpenID Connect Core 1.0 §8.1), which only
clients of one sector know.
"""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sshaft_identity.clients.clients import Client

_LONGEST_USER = 64


class Subjects:
    def __init__(self, key: bytes) -> None:
        """`key` is the service's own (hmac.key): while it stays, so does what a client knows somebody by."""
        self._cipher = AESSIV(HKDF(SHA256(), 64, None, b"sshaft-identity subjects").derive(key))

    def of(self, client: Client, user: str) -> str:
        sector = client.pairwise_sector
        if sector is None:
            return user
        # §8.1: of one user and one sector always the same; we alone can read it. Filled up, so that no length tells.
        return _base64url(self._cipher.encrypt(user.encode().ljust(_LONGEST_USER, b"\0"), [sector.encode()]))

    def user_of(self, client: Client, subject: str) -> str | None:
        """The user whom the client knows by that name; None if it is no name that we gave."""
        sector = client.pairwise_sector
        if sector is None:
            return subject
        try:
            sealed = base64.urlsafe_b64decode(subject + "=" * (-len(subject) % 4))
            return self._cipher.decrypt(sealed, [sector.encode()]).rstrip(b"\0").decode()
        except (InvalidTag, binascii.Error, ValueError):
            return None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
