"""Clients and their access tokens: who may list, accept, or open challenges. Secrets and tokens are stored hashed."""

import hmac
import json
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from sshaft_identity.audit.log import record_event
from sshaft_identity.common.addresses import Network, is_within
from sshaft_identity.common.digests import digest
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import latest_begin
from sshaft_identity.database.database import Database
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import access_tokens, clients

TOKEN_LIFETIME = timedelta(seconds=300)
CLIENT_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NOBODY = digest("nobody")
_OF_CLIENT = ("allows_unbound", "return_urls", "networks", "faces", "jwks", "pairwise_sector")
_OF_TOKEN = Prepared(
    select(access_tokens, *(each for each in clients.c if each.key in _OF_CLIENT))
    .join(clients, clients.c.client_id == access_tokens.c.client_id)
    .where(access_tokens.c.token_hash == bindparam("token"))
)


class Scope(StrEnum):
    LIST = "mfa:list"
    ACCEPT = "mfa:accept"
    CHALLENGES = "challenges"
    ENROLMENTS = "enrolments"


@dataclass(frozen=True, slots=True)
class Client:
    client_id: str
    scopes: frozenset[str]
    allows_unbound: bool = False
    """Whether it may open challenges that nothing ties to the SSH login (binding `none`)."""
    return_urls: tuple[str, ...] = ()
    """Below which addresses its challenges may lead back to (`return_urls`)."""
    networks: tuple[Network, ...] = ()
    """Where it may call from; empty: anywhere."""
    faces: Mapping[str, Any] = field(default_factory=dict)
    """The options of the client for each face that it may use. Only the face understands them."""
    jwks: Any = None
    """The public keys (RFC 7517 §5) of a client that uses `private_key_jwt`. Such a client has no secret."""
    pairwise_sector: str | None = None
    """The sector of the client's pairwise names (OpenID Connect Core 1.0 §8.1). None: the client gets user names."""

    def may_call_from(self, address: str | None) -> bool:
        return not self.networks or is_within(address, self.networks)


class Clients:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._local = threading.local()

    @contextmanager
    def of_batch(self) -> Iterator[None]:
        """Until its end this thread looks each access token up once: for requests that had all come before."""
        self._local.found = {}
        try:
            yield
        finally:
            del self._local.found

    def add(self, client: Client, now: datetime) -> str:
        """Registers a client and returns its secret. The service stores only a digest of the secret.

        Raises `RegistryError` if the name is not a client name or is taken.
        """
        if not re.fullmatch(CLIENT_PATTERN, client.client_id):
            raise RegistryError("a client's name is 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or digit")
        secret = secrets.token_urlsafe(32)
        scope = " ".join(sorted(client.scopes))
        values = {
            "client_id": client.client_id,
            "secret_hash": digest(secret),
            "scope": scope,
            "allows_unbound": client.allows_unbound,
            "return_urls": " ".join(client.return_urls),
            "networks": " ".join(client.networks),
            "faces": json.dumps(client.faces),
            "jwks": client.jwks and json.dumps(client.jwks),
            "pairwise_sector": client.pairwise_sector,
        }
        with self._database.write(alone="clients") as connection:
            if _is_registered(connection, client.client_id):
                raise RegistryError(f"there is already a client {client.client_id}")
            connection.execute(insert(clients).values(created_at=now, **values))
            record_event(connection, "client.added", now, user=None, client=client.client_id, scope=scope)
        return secret

    def all(self) -> list[Client]:
        with self._database.read() as connection:
            return [_client(row) for row in connection.execute(select(clients).order_by(clients.c.client_id))]

    def get(self, client_id: str) -> Client | None:
        with self._database.read() as connection:
            row = connection.execute(select(clients).where(clients.c.client_id == client_id)).one_or_none()
        return None if row is None else _client(row)

    def set_face(self, client_id: str, face: str, options: Mapping[str, Any] | None, now: datetime) -> None:
        """Let the client come through a face, with these options; None: no longer. Raises `RegistryError` if there is
        no client.
        """
        mine = clients.c.client_id == client_id
        with self._database.write(alone="clients") as connection:
            row = connection.execute(select(clients.c.faces).where(mine)).one_or_none()
            if row is None:
                raise RegistryError(f"there is no client {client_id}")
            faces = {name: value for name, value in json.loads(row.faces).items() if name != face}
            faces |= {} if options is None else {face: options}
            connection.execute(update(clients).where(mine).values(faces=json.dumps(faces)))
            record_event(
                connection, "client.face_set", now, user=None, client=client_id, face=face, on=options is not None
            )

    def remove(self, client_id: str, now: datetime) -> None:
        """The client and its access tokens; what it has opened stays. Raises `RegistryError` if there is none."""
        with self._database.write() as connection:
            if not connection.execute(delete(clients).where(clients.c.client_id == client_id)).rowcount:
                raise RegistryError(f"there is no client {client_id}")
            record_event(connection, "client.removed", now, user=None, client=client_id)

    def set_return_urls(self, client_id: str, return_urls: Collection[str], now: datetime) -> None:
        """These and no others; what is open already keeps its own. Raises `RegistryError` if there is no client."""
        prefixes = " ".join(return_urls)
        change = update(clients).where(clients.c.client_id == client_id).values(return_urls=prefixes)
        with self._database.write() as connection:
            if not connection.execute(change).rowcount:
                raise RegistryError(f"there is no client {client_id}")
            record_event(connection, "client.return_urls_set", now, user=None, client=client_id, return_urls=prefixes)

    def rotate_secret(
        self, client_id: str, now: datetime, overlap: timedelta, deliver: Callable[[str], None] | None = None
    ) -> str:
        """A new secret. The one before stays good for `overlap`, the one before that ends now; without an overlap so do
        the access tokens. `deliver` is given the secret before it counts: if that raises, nothing has changed.
        """
        secret = secrets.token_urlsafe(32)
        mine = clients.c.client_id == client_id
        with self._database.write() as connection:
            row = connection.execute(select(clients).where(mine)).one_or_none()
            if row is None:
                raise RegistryError(f"there is no client {client_id}")
            until = now + overlap if overlap else None
            values = {
                "secret_hash": digest(secret),
                "previous_secret_hash": row.secret_hash if overlap else None,
                "previous_secret_until": until,
            }
            connection.execute(update(clients).where(mine).values(values))
            if not overlap:
                connection.execute(delete(access_tokens).where(access_tokens.c.client_id == client_id))
            seconds = int(overlap.total_seconds())
            record_event(connection, "client.secret_rotated", now, user=None, client=client_id, overlap_seconds=seconds)
            if deliver is not None:
                deliver(secret)
        return secret

    def authenticate(self, client_id: str, secret: str, now: datetime) -> Client | None:
        """The client whose secret this is, or was until lately. An unknown client costs the work of a wrong secret."""
        with self._database.read() as connection:
            row = connection.execute(select(clients).where(clients.c.client_id == client_id)).one_or_none()
        given = digest(secret)
        right = hmac.compare_digest(given, row.secret_hash if row else _NOBODY)
        was_right = hmac.compare_digest(given, (row.previous_secret_hash if row else None) or _NOBODY)
        is_in_time = row is not None and row.previous_secret_until is not None and now < row.previous_secret_until
        known = right or (was_right and is_in_time)
        return _client(row) if row and known else None

    def issue_token(
        self,
        client: Client,
        scopes: Collection[str],
        now: datetime,
        *,
        user: str | None = None,
        login: str | None = None,
    ) -> str | None:
        """A new opaque access token for `TOKEN_LIFETIME`; None if the client was removed meanwhile. `user`, `login`: it
        speaks of a person whom that challenge has proven.
        """
        token = secrets.token_urlsafe(32)
        with self._database.write() as connection:
            if not _is_registered(connection, client.client_id):
                return None
            connection.execute(
                insert(access_tokens).values(
                    token_hash=digest(token),
                    client_id=client.client_id,
                    scope=" ".join(sorted(scopes)),
                    user_name=user,
                    login=login,
                    expires_at=now + TOKEN_LIFETIME,
                )
            )
        return token

    def of_token(self, token: str, now: datetime) -> Client | None:
        """Whom the token was given to, with the scopes it was given for. One look-up by hash, whatever the token."""
        row = self._token(token, now)
        return None if row is None else _client(row)

    def person_of_token(self, token: str, now: datetime) -> tuple[Client, str] | None:
        """The same for a token that speaks of a person, and the person's name."""
        row = self._token(token, now)
        return None if row is None or row.user_name is None else (_client(row), row.user_name)

    def _token(self, token: str, now: datetime) -> Any:
        found: dict[str, Any] = getattr(self._local, "found", {})
        token_hash = digest(token)
        if token_hash not in found:
            with self._database.read() as connection:
                found[token_hash] = _OF_TOKEN.first(connection, {"token": token_hash})
        row = found[token_hash]
        if row is None or row.expires_at <= now or row.expires_at - TOKEN_LIFETIME > latest_begin(now):
            return None
        return row

    def revoke_login(self, login: str) -> None:
        """Void all access tokens that this login ended with: its code came twice."""
        with self._database.write() as connection:
            connection.execute(delete(access_tokens).where(access_tokens.c.login == login))

    def revoke_tokens(self, client_id: str, now: datetime) -> int:
        """How many access tokens of the client are void from now on; it may ask for new ones."""
        with self._database.write() as connection:
            if not _is_registered(connection, client_id):
                raise RegistryError(f"there is no client {client_id}")
            count = connection.execute(delete(access_tokens).where(access_tokens.c.client_id == client_id)).rowcount
            record_event(connection, "client.revoked", now, user=None, client=client_id, access_tokens=count)
            return count


def _client(row: Any) -> Client:
    return Client(
        row.client_id,
        frozenset(row.scope.split()),
        row.allows_unbound,
        tuple(row.return_urls.split()),
        tuple(row.networks.split()),
        json.loads(row.faces),
        row.jwks and json.loads(row.jwks),
        row.pairwise_sector,
    )


def _is_registered(connection: Connection, client_id: str) -> bool:
    """In a transaction that writes: nobody else removes the client before it ends (SQLite has one writer anyway)."""
    query = select(clients.c.client_id).where(clients.c.client_id == client_id)
    return connection.scalar(query.with_for_update(read=True, key_share=True)) is not None
