"""Issues, looks up and revokes the access tokens of clients (RFC 6749 §1.4). The database holds only their digests."""

import secrets
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from sshaft_identity.audit.log import record_event
from sshaft_identity.clients.clients import Client, client_of_row, is_registered
from sshaft_identity.common.digests import digest
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import latest_begin
from sshaft_identity.database.database import Database
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import access_tokens, clients

TOKEN_LIFETIME = timedelta(seconds=300)
_CLIENT_COLUMNS = ("allows_unbound", "return_urls", "networks", "faces", "jwks", "pairwise_sector")
_FIND = Prepared(
    select(access_tokens, *(each for each in clients.c if each.key in _CLIENT_COLUMNS))
    .join(clients, clients.c.client_id == access_tokens.c.client_id)
    .where(access_tokens.c.token_hash == bindparam("token"))
)


class AccessTokens:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._local = threading.local()

    @contextmanager
    def cached(self) -> Iterator[None]:
        """Reads each access token once in this thread. The block may only answer requests that arrived before it."""
        self._local.found = {}
        try:
            yield
        finally:
            del self._local.found

    def issue(
        self,
        client: Client,
        scopes: Collection[str],
        now: datetime,
        *,
        user: str | None = None,
        login: str | None = None,
    ) -> str | None:
        """Returns a new opaque access token, valid for `TOKEN_LIFETIME`; None if the client was removed meanwhile.
        `user` and `login`: the person whose data the token opens, and the challenge that this person passed.
        """
        token = secrets.token_urlsafe(32)
        with self._database.write() as connection:
            if not is_registered(connection, client.client_id):
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

    def client_of(self, token: str, now: datetime) -> Client | None:
        """Returns the client that got the token, with the scopes of the token; None if the token is not valid."""
        row = self._valid(token, now)
        return None if row is None else client_of_row(row)

    def person_of(self, token: str, now: datetime) -> tuple[Client, str] | None:
        """Returns the client and the user of a token that was issued for a user; None for every other token."""
        row = self._valid(token, now)
        return None if row is None or row.user_name is None else (client_of_row(row), row.user_name)

    def _valid(self, token: str, now: datetime) -> Any:
        found: dict[str, Any] = getattr(self._local, "found", {})
        token_hash = digest(token)
        if token_hash not in found:
            with self._database.read() as connection:
                found[token_hash] = _FIND.first(connection, {"token": token_hash})
        row = found[token_hash]
        if row is None or row.expires_at <= now or row.expires_at - TOKEN_LIFETIME > latest_begin(now):
            return None
        return row

    def revoke_login(self, login: str) -> None:
        """Revokes all access tokens of a login whose authorization code was used twice (RFC 6749 §4.1.2)."""
        with self._database.write() as connection:
            connection.execute(delete(access_tokens).where(access_tokens.c.login == login))

    def revoke_all(self, client_id: str, now: datetime) -> int:
        """Revokes all access tokens of the client and returns their number. Raises `RegistryError`."""
        with self._database.write() as connection:
            if not is_registered(connection, client_id):
                raise RegistryError(f"there is no client {client_id}")
            count = connection.execute(delete(access_tokens).where(access_tokens.c.client_id == client_id)).rowcount
            record_event(connection, "client.revoked", now, user=None, client=client_id, access_tokens=count)
            return count
