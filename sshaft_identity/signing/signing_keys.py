"""The keys that sign what the service states: made, rotated, published as a JWKS (RFC 7517) and retired.

    waits -> signs -> published -> gone

There are two that sign, each with its own life: RS256 for ID tokens, as every verifier knows it, and ES256 for results,
as it is ten times cheaper. A new key is published before it signs, for verifiers keep the set for a while; the one
before stays published until what it has signed is over. The private parts are in the database encrypted, with a key
that is made from hmac.key: the database alone signs nothing.
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
"""How long verifiers may go on with the set they know."""
OVERLAP = timedelta(hours=1)
"""How long a key stays published after it has signed last; nothing it signs lives longer."""
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
    """A key that is published. `encrypted` is its private part, encrypted."""

    kid: str
    algorithm: Algorithm
    public_jwk: Jwk
    created_at: datetime
    signs_from: datetime
    retires_at: datetime | None
    encrypted: bytes = field(repr=False)


class SigningKeys:
    def __init__(self, database: Database, key: bytes) -> None:
        """`key` is the service's own (hmac.key)."""
        self._database = database
        self._cipher = AESGCM(HKDF(SHA256(), 32, None, b"sshaft-identity signing keys").derive(key))
        self._opened: dict[str, RSAKey | ECKey] = {}

    def published(self, now: datetime) -> list[SigningKey]:
        """All that somebody may meet a signature of, or will; the newest first."""
        with self._database.read() as connection:
            return _published(connection, now)

    def jwks(self, now: datetime) -> dict[str, list[Jwk]]:
        return {"keys": [key.public_jwk for key in self.published(now)]}

    def sign(self, claims: dict[str, Any], now: datetime, typ: str, algorithm: Algorithm) -> str | None:
        """A JWT, by the key that signs now; None if there is none. `typ` says what it is (RFC 8725 §3.11)."""
        key = current_key(self.published(now), now, algorithm)
        if key is None:
            return None
        header = {"alg": key.algorithm, "kid": key.kid, "typ": typ}
        return jwt.encode(header, claims, self._open(key), algorithms=[key.algorithm])

    def check(self, now: datetime) -> bool:
        """Whether there is a key of each algorithm. Raises `ConfigurationError` if one that signs cannot be opened."""
        published = self.published(now)
        keys = [current_key(published, now, each) for each in Algorithm]
        return all(key is not None and self._open(key) is not None for key in keys)

    def ensure(self, now: datetime) -> None:
        """The first key of each algorithm, unless there is one."""
        published = self.published(now)
        for each in Algorithm:
            if current_key(published, now, each) is None:
                self.rotate(now, each)

    def rotate(
        self, now: datetime, algorithm: Algorithm | None = None, wait: timedelta = ROTATION_WAIT
    ) -> list[SigningKey]:
        """A new key, which signs after `wait`, and the end of those before; the first of its algorithm signs at once.

        Without `algorithm` that of every one, or of none. Raises `RegistryError` if one waits already; without `wait`
        that one goes instead.
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
        """Out of the set and out of the database, at once. Raises `RegistryError` for the one that signs."""
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
        """A key by its RFC 7638 thumbprint, its private part encrypted and bound to that."""
        made: RSAKey | ECKey
        jwk: Jwk = {"alg": algorithm, "use": "sig"}
        kid = "-"
        while kid.startswith("-"):  # `signing-key retire` would take that for an option
            made = RSAKey.generate_key(RSA_BITS) if algorithm is Algorithm.RS256 else ECKey.generate_key("P-256")
            kid = made.thumbprint()
        if isinstance(made, RSAKey):
            jwk |= certificate_members(made.get_op_key("sign"), now)
        jwk |= made.as_dict(private=False) | {"kid": kid}
        nonce = secrets.token_bytes(_NONCE_BYTES)
        encrypted = nonce + self._cipher.encrypt(nonce, made.as_der(private=True), kid.encode())
        return SigningKey(kid, algorithm, jwk, created_at=now, signs_from=now, retires_at=None, encrypted=encrypted)

    def _open(self, key: SigningKey) -> RSAKey | ECKey:
        if key.kid not in self._opened:
            nonce, encrypted = key.encrypted[:_NONCE_BYTES], key.encrypted[_NONCE_BYTES:]
            try:
                private = self._cipher.decrypt(nonce, encrypted, key.kid.encode())
            except (InvalidTag, ValueError):
                raise ConfigurationError(
                    f"the signing key {key.kid} cannot be opened: hmac.key is not the one that it was made with"
                ) from None
            kind = RSAKey if key.algorithm is Algorithm.RS256 else ECKey
            self._opened[key.kid] = kind.import_key(private)
        return self._opened[key.kid]


def current_key(published: Sequence[SigningKey], now: datetime, algorithm: Algorithm) -> SigningKey | None:
    """Which key of `algorithm` signs now: of those that may, one without an end first, then the newest.

    The first of its algorithm may from the beginning, also where the clock was put back behind it.
    """
    keys = [key for key in published if key.algorithm is algorithm]
    first = min((key.signs_from for key in keys), default=now)
    may = [key for key in keys if key.signs_from <= max(first, now)]
    return max(may, key=lambda key: (key.retires_at is None, key.signs_from, key.created_at), default=None)


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
    """Ends the keys `before`, all of `algorithm`; when the next one signs."""
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
    values = {"retires_at": min(key.retires_at or end, end), "signs_from": min(key.signs_from, now)}
    # It began later only where the clock was put back; then the new key would seem to be the first of all.
    connection.execute(update(signing_keys).where(signing_keys.c.kid == key.kid).values(values))
