"""Adds, lists and renames the users' SSH keys. One key has one owner. `enrolment.revocation` removes keys."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, select, update

from sshaft.public_key import PublicKey
from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database import pages
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import ssh_keys
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.people.registration import NewKey, add_key, lock_user
from sshaft_identity.people.users import user_exists

MAX_NAME = 80


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A key and its owner. `name`, `attested` and `last_used_from` are foreign text."""

    user: str
    key: PublicKey
    name: str
    created_at: datetime
    source: str = "operator"
    attested: str | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    last_used_from: str | None = None
    added_with: str | None = None


class Keys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, user: str, keys: Sequence[tuple[PublicKey, str] | NewKey], now: datetime, policy: KeyPolicy | None = None
    ) -> list[PublicKey]:
        """Registers all keys or none. Returns the keys that the user did not have before.

        Raises `RegistryError` if there is no such user, if the policy does not allow a key, or if another user owns
        one: two people with one key could each pass the other's login.
        """
        with self._database.write(alone="enrolment") as connection:
            if not lock_user(connection, user):
                raise RegistryError(f"there is no user {user}: `sshaft identity user add {user}` makes one")
            new = [each if isinstance(each, NewKey) else NewKey(*each) for each in keys]
            return [each.key for each in new if add_key(connection, user, each, policy or KeyPolicy(), now)]

    def all(self, user: str | None = None) -> list[RegisteredKey]:
        """Returns the keys of everybody, or of one user. Raises `RegistryError` if there is no such user."""
        return list(self.each(user))

    def each(self, user: str | None = None) -> Iterator[RegisteredKey]:
        """Returns the same page by page, for lists of any length."""
        query = select(ssh_keys)
        if user is not None:
            query = query.where(ssh_keys.c.user_name == user)
            with self._database.read() as connection:
                if not user_exists(connection, user):
                    raise RegistryError(f"there is no user {user}")
        order = ssh_keys.c.user_name, ssh_keys.c.created_at, ssh_keys.c.fingerprint
        return map(registered_key, pages.rows(self._database, query, *order))

    def of(self, user: str) -> list[RegisteredKey]:
        """Returns the user's keys, the last used first."""
        latest = func.coalesce(ssh_keys.c.last_used_at, ssh_keys.c.created_at).desc()
        return self._read(select(ssh_keys).where(ssh_keys.c.user_name == user).order_by(latest, ssh_keys.c.fingerprint))

    def rename(self, user: str, fingerprint: str, name: str, now: datetime, **facts: Fact) -> bool:
        """Renames a key of the user. Returns whether the user has such a key. `facts` go to the audit log."""
        name = name[:MAX_NAME]
        own_key = update(ssh_keys).where(ssh_keys.c.fingerprint == fingerprint, ssh_keys.c.user_name == user)
        with self._database.write() as connection:
            done = connection.execute(own_key.values(name=name)).rowcount == 1
            if done:
                record_event(connection, "key.renamed", now, user=user, fingerprint=fingerprint, name=name, **facts)
        return done

    def _read(self, query: Select[Any]) -> list[RegisteredKey]:
        with self._database.read() as connection:
            return [registered_key(row) for row in connection.execute(query)]


def registered_key(row: Row[Any]) -> RegisteredKey:
    """Returns a row of the table as a key."""
    return RegisteredKey(
        row.user_name, PublicKey(row.type, row.blob), row.name, row.created_at, row.source, row.attested,
        row.expires_at, row.last_used_at, row.last_used_from, row.added_with,
    )  # fmt: skip
