"""Gives each client the `sub` of a person: the id of the user, or a pairwise name (OpenID Connect Core 1.0 §8.1), which
only clients of one sector know. Another person never gets the same `sub`, also not with the same user name (§2).
"""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sshaft_identity.clients.clients import Client

_MAX_ID_LENGTH = 64


class Subjects:
    def __init__(self, key: bytes) -> None:
        """`key` is the content of hmac.key. Another key would give every person other pairwise names."""
        self._cipher = AESSIV(HKDF(SHA256(), 64, None, b"sshaft-identity subjects").derive(key))

    def of(self, client: Client, user_id: str) -> str:
        """Returns the `sub` of a user for a client: the id, or the pairwise name of the client's sector."""
        sector = client.pairwise_sector
        if sector is None:
            return user_id
        # §8.1: the same for one user and one sector. Only we can read it. The padding hides the length of the id.
        return _base64url(self._cipher.encrypt(user_id.encode().ljust(_MAX_ID_LENGTH, b"\0"), [sector.encode()]))

    def user_id_of(self, client: Client, subject: str) -> str | None:
        """Returns the id of the user whom the client knows by this subject; None for a subject that is not ours."""
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
