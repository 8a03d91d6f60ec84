"""Makes, rotates, publishes (JWKS, RFC 7517) and retires the keys that sign tokens and results.

    waits -> signs -> published -> gone

At any time two keys sign, and each is rotated apart: RS256 for ID tokens, because every verifier knows RS256, and ES256
for results, because ES256 is ten times cheaper. A new key is published before it signs, because verifiers keep the set
for a while. The old key stays published until everything it has signed has expired. The private keys are encrypted in
the database with a key made from hmac.key, so the database alone can sign nothing.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from sshaft.errors import ConfigurationError
from sshaft_identity.audit.log import record_event
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.database import Database
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import signing_keys
from sshaft_identity.signing.certificates import certificate_members

ROTATION_WAIT = timedelta(hours=48)
"""A new key waits so long before it signs: verifiers may use the set that they know so long."""
OVERLAP = timedelta(hours=1)
"""A key stays published so long after its last signature: nothing that it signs is valid for longer."""
RSA_BITS = 2048
_NONCE_BYTES = 12
_PUBLISHED = Prepared(
    select(signing_keys)
    .where(or_(signing_keys.c.retires_at.is_(None), signing_keys.c.retires_at > bindparam("now")))
    .order_by(signing_keys.c.signs_from.desc(), signing_keys.c.created_at.desc())
)


class Algorithm(StrEnum):
    RS256 = "RS256"
    ES256 = "ES256"


Jwk = dict[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A published key. `encrypted` is its private key, encrypted."""

    kid: str
    algorithm: Algorithm
    public_jwk: Jwk
    created_at: datetime
    signs_from: datetime
    retires_at: datetime | None
    encrypted: bytes = field(repr=False)


class SigningKeys:
    def __init__(self, database: Database, key: bytes) -> None:
        """`key` is the content of hmac.key."""
        self._database = database
        self._cipher = AESGCM(HKDF(SHA256(), 32, None, b"sshaft-identity signing keys").derive(key))
        self._decrypted: dict[str, RSAKey | ECKey] = {}

    def published(self, now: datetime) -> list[SigningKey]:
        """Returns every key whose signatures may still be verified, or will be. The newest key comes first."""
        with self._database.read() as connection:
            return _published(connection, now)

    def jwks(self, now: datetime) -> dict[str, list[Jwk]]:
        """Returns the published key set (RFC 7517 §5)."""
        return {"keys": [key.public_jwk for key in self.published(now)]}

    def sign(self, claims: dict[str, Any], now: datetime, typ: str, algorithm: Algorithm) -> str | None:
        """Returns a JWT signed by the current key of `algorithm`, or None if there is no such key.

        `typ` names the kind of token (RFC 8725 §3.11).
        """
        key = current_key(self.published(now), now, algorithm)
        if key is None:
            return None
        header = {"alg": key.algorithm, "kid": key.kid, "typ": typ}
        return jwt.encode(header, claims, self._decrypt(key), algorithms=[key.algorithm])

    def check(self, now: datetime) -> bool:
        """Whether each algorithm has a current key. Raises `ConfigurationError` if one cannot be decrypted."""
        published = self.published(now)
        keys = [current_key(published, now, each) for each in Algorithm]
        return all(key is not None and self._decrypt(key) is not None for key in keys)

    def ensure(self, now: datetime) -> None:
        """Makes the first key of each algorithm, unless there is one."""
        published = self.published(now)
        for each in Algorithm:
            if current_key(published, now, each) is None:
                self.rotate(now, each)

    def rotate(
        self, now: datetime, algorithm: Algorithm | None = None, wait: timedelta = ROTATION_WAIT
    ) -> list[SigningKey]:
        """Makes a new key of `algorithm`, or of each one, and lets the old keys end. Returns the new keys.

        A new key signs after `wait`, but the first of its algorithm at once. Raises `RegistryError` if another new key
        is waiting. With a `wait` of zero, the waiting key is deleted instead.
        """
        made = [self._make(each, now) for each in (Algorithm if algorithm is None else [algorithm])]
        with self._database.write() as connection:
            connection.execute(delete(signing_keys).where(signing_keys.c.retires_at <= now))
            published = _published(connection, now)
            for key in made:
                before = [each for each in published if each.algorithm is key.algorithm]
                signs_from = _succeed(connection, before, now, key.algorithm, wait)
                _insert(connection, replace(key, signs_from=signs_from))
        kids = [key.kid for key in made]
        return [key for key in self.published(now) if key.kid in kids]

    def retire(self, kid: str, now: datetime) -> None:
        """Deletes the key and takes it out of the published set at once. Raises `RegistryError` for a current key."""
        with self._database.write() as connection:
            keys = _published(connection, now)
            key = next((key for key in keys if key.kid == kid), None)
            if key is None:
                raise RegistryError("there is no such signing key")
            if key == current_key(keys, now, key.algorithm):
                rotate = f"signing-key rotate --now --algorithm {key.algorithm}"
                raise RegistryError(f"this key signs now: `{rotate}` first, then retire it")
            connection.execute(delete(signing_keys).where(signing_keys.c.kid == kid))
            record_event(connection, "signing_key.retired", now, user=None, kid=kid)

    def _make(self, algorithm: Algorithm, now: datetime) -> SigningKey:
        """Returns a new key. Its `kid` is its thumbprint (RFC 7638), and the encryption is bound to the `kid`."""
        made: RSAKey | ECKey
        jwk: Jwk = {"alg": algorithm, "use": "sig"}
        kid = "-"
        while kid.startswith("-"):  # `signing-key retire` would read such a kid as an option
            made = RSAKey.generate_key(RSA_BITS) if algorithm is Algorithm.RS256 else ECKey.generate_key("P-256")
            kid = made.thumbprint()
        if isinstance(made, RSAKey):
            jwk |= certificate_members(made.get_op_key("sign"), now)
        jwk |= made.as_dict(private=False) | {"kid": kid}
        nonce = secrets.token_bytes(_NONCE_BYTES)
        encrypted = nonce + self._cipher.encrypt(nonce, made.as_der(private=True), kid.encode())
        return SigningKey(kid, algorithm, jwk, created_at=now, signs_from=now, retires_at=None, encrypted=encrypted)

    def _decrypt(self, key: SigningKey) -> RSAKey | ECKey:
        if key.kid not in self._decrypted:
            nonce, ciphertext = key.encrypted[:_NONCE_BYTES], key.encrypted[_NONCE_BYTES:]
            try:
                private = self._cipher.decrypt(nonce, ciphertext, key.kid.encode())
            except (InvalidTag, ValueError):
                raise ConfigurationError(
                    f"the signing key {key.kid} cannot be opened: hmac.key is not the one that it was made with"
                ) from None
            kind = RSAKey if key.algorithm is Algorithm.RS256 else ECKey
            self._decrypted[key.kid] = kind.import_key(private)
        return self._decrypted[key.kid]


def current_key(published: Sequence[SigningKey], now: datetime, algorithm: Algorithm) -> SigningKey | None:
    """Returns the key of `algorithm` that signs now: a key without an end comes first, then the newest key.

    The first key of an algorithm may sign from the beginning, also if the clock was set back before its creation.
    """
    keys = [key for key in published if key.algorithm is algorithm]
    first = min((key.signs_from for key in keys), default=now)
    candidates = [key for key in keys if key.signs_from <= max(first, now)]
    return max(candidates, key=lambda key: (key.retires_at is None, key.signs_from, key.created_at), default=None)


def _published(connection: Connection, now: datetime) -> list[SigningKey]:
    return [
        SigningKey(
            kid=row.kid,
            algorithm=Algorithm(row.algorithm),
            public_jwk=json.loads(row.public_jwk),
            created_at=row.created_at,
            signs_from=row.signs_from,
            retires_at=row.retires_at,
            encrypted=row.sealed_private,
        )
        for row in _PUBLISHED.all(connection, {"now": now})
    ]


def _succeed(
    connection: Connection, before: list[SigningKey], now: datetime, algorithm: Algorithm, wait: timedelta
) -> datetime:
    """Lets the keys `before` of `algorithm` end. Returns when their successor begins to sign."""
    current = current_key(before, now, algorithm)
    waiting = [key for key in before if key.signs_from > now and key != current]
    if waiting and wait:
        raise RegistryError(f"the {algorithm} key {waiting[0].kid} waits already: --now rotates without waiting")
    signs_from = now + wait if before else now
    for key in before:
        if key in waiting:  # it has signed nothing
            connection.execute(delete(signing_keys).where(signing_keys.c.kid == key.kid))
        else:
            _end(connection, key, now, signs_from + OVERLAP)
    return signs_from


def _insert(connection: Connection, key: SigningKey) -> None:
    connection.execute(
        insert(signing_keys).values(
            kid=key.kid,
            algorithm=key.algorithm,
            public_jwk=json.dumps(key.public_jwk),
            sealed_private=key.encrypted,
            created_at=key.created_at,
            signs_from=key.signs_from,
        )
    )
    record_event(connection, "signing_key.added", key.created_at, user=None, kid=key.kid, algorithm=key.algorithm)


def _end(connection: Connection, key: SigningKey, now: datetime, end: datetime) -> None:
    # Without min(now), a key with a later begin, because the clock was set back, would make the new key the first one.
    values = {"retires_at": min(key.retires_at or end, end), "signs_from": min(key.signs_from, now)}
    connection.execute(update(signing_keys).where(signing_keys.c.kid == key.kid).values(values))
