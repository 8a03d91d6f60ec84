"""Registers clients (RFC 6749 §2) and checks their secrets. The database holds only digests of the secrets."""

import hmac
import json
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from sshaft_identity.audit.log import record_event
from sshaft_identity.common.addresses import Network, is_within
from sshaft_identity.common.digests import digest
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import access_tokens, clients

_CLIENT_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NO_CLIENT = digest("nobody")


class Scope(StrEnum):
    LIST = "mfa:list"
    ACCEPT = "mfa:accept"
    CHALLENGES = "challenges"
    ENROLMENTS = "enrolments"
    APPROVALS = "approvals"


@dataclass(frozen=True, slots=True)
class Client:
    client_id: str
    scopes: frozenset[str]
    allows_unbound: bool = False
    """Whether the client may open challenges with binding `none`: nothing ties them to the SSH login."""
    return_urls: tuple[str, ...] = ()
    """The prefixes of the addresses to which the client's challenges may lead people back."""
    networks: tuple[Network, ...] = ()
    """The networks that the client may call from. Empty: any address."""
    faces: Mapping[str, Any] = field(default_factory=dict)
    """The client's options for each face that the client may use. Only the face understands its options."""
    jwks: Any = None
    """The public keys (RFC 7517 §5) of a client that uses `private_key_jwt`. Such a client has no secret."""
    pairwise_sector: str | None = None
    """The sector of the client's pairwise names (OpenID Connect Core 1.0 §8.1). None: the client gets user names."""

    def may_call_from(self, address: str | None) -> bool:
        return not self.networks or is_within(address, self.networks)


class Clients:
    """Every method that changes a client raises `RegistryError` if there is no such client."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, client: Client, now: datetime) -> str:
        """Registers a client and returns its secret. The service stores only a digest of the secret.
        Raises `RegistryError` if the name is not a client name or is taken.
        """
        if not re.fullmatch(_CLIENT_PATTERN, client.client_id):
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
            if is_registered(connection, client.client_id):
                raise RegistryError(f"there is already a client {client.client_id}")
            connection.execute(insert(clients).values(created_at=now, **values))
            record_event(connection, "client.added", now, user=None, client=client.client_id, scope=scope)
        return secret

    def all(self) -> list[Client]:
        with self._database.read() as connection:
            return [client_of_row(row) for row in connection.execute(select(clients).order_by(clients.c.client_id))]

    def get(self, client_id: str) -> Client | None:
        with self._database.read() as connection:
            row = connection.execute(select(clients).where(clients.c.client_id == client_id)).one_or_none()
        return None if row is None else client_of_row(row)

    def set_face(self, client_id: str, face: str, options: Mapping[str, Any] | None, now: datetime) -> None:
        """Lets the client use a face with these options. With None the client may no longer use the face."""
        is_client = clients.c.client_id == client_id
        with self._database.write(alone="clients") as connection:
            row = connection.execute(select(clients.c.faces).where(is_client)).one_or_none()
            if row is None:
                raise RegistryError(f"there is no client {client_id}")
            faces = {name: value for name, value in json.loads(row.faces).items() if name != face}
            faces |= {} if options is None else {face: options}
            connection.execute(update(clients).where(is_client).values(faces=json.dumps(faces)))
            record_event(
                connection, "client.face_set", now, user=None, client=client_id, face=face, on=options is not None
            )

    def set_return_urls(self, client_id: str, return_urls: Collection[str], now: datetime) -> None:
        """Replaces the return URLs of the client. Open challenges keep the URL that they were opened with."""
        prefixes = " ".join(return_urls)
        change = update(clients).where(clients.c.client_id == client_id).values(return_urls=prefixes)
        with self._database.write() as connection:
            if not connection.execute(change).rowcount:
                raise RegistryError(f"there is no client {client_id}")
            record_event(connection, "client.return_urls_set", now, user=None, client=client_id, return_urls=prefixes)

    def rotate_secret(
        self, client_id: str, now: datetime, overlap: timedelta, deliver: Callable[[str], None] | None = None
    ) -> str:
        """Gives the client a new secret and returns it. The previous secret stays valid for `overlap`.

        An older secret ends now. Without an overlap, the previous secret and all access tokens end now as well.
        `deliver` gets the new secret before it is stored. If `deliver` raises an error, nothing changes.
        """
        secret = secrets.token_urlsafe(32)
        is_client = clients.c.client_id == client_id
        with self._database.write() as connection:
            row = connection.execute(select(clients).where(is_client)).one_or_none()
            if row is None:
                raise RegistryError(f"there is no client {client_id}")
            until = now + overlap if overlap else None
            values = {
                "secret_hash": digest(secret),
                "previous_secret_hash": row.secret_hash if overlap else None,
                "previous_secret_until": until,
            }
            connection.execute(update(clients).where(is_client).values(values))
            if not overlap:
                connection.execute(delete(access_tokens).where(access_tokens.c.client_id == client_id))
            seconds = int(overlap.total_seconds())
            record_event(connection, "client.secret_rotated", now, user=None, client=client_id, overlap_seconds=seconds)
            if deliver is not None:
                deliver(secret)
        return secret

    def authenticate(self, client_id: str, secret: str, now: datetime) -> Client | None:
        """Returns the client if the secret is its present one, or its previous one within the overlap; else None.
        An unknown client takes as long as a wrong secret, so that the time does not show which clients exist.
        """
        with self._database.read() as connection:
            row = connection.execute(select(clients).where(clients.c.client_id == client_id)).one_or_none()
        given = digest(secret)
        is_present = hmac.compare_digest(given, row.secret_hash if row else _NO_CLIENT)
        is_previous = hmac.compare_digest(given, (row.previous_secret_hash if row else None) or _NO_CLIENT)
        in_overlap = row is not None and row.previous_secret_until is not None and now < row.previous_secret_until
        return client_of_row(row) if row and (is_present or (is_previous and in_overlap)) else None


def client_of_row(row: Any) -> Client:
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


def is_registered(connection: Connection, client_id: str) -> bool:
    """Whether the client exists. No other transaction removes it before the transaction of `connection` ends."""
    query = select(clients.c.client_id).where(clients.c.client_id == client_id)
    return connection.scalar(query.with_for_update(read=True, key_share=True)) is not None
