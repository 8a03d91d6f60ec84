"""Users and their SSH keys. The list call reads them; the operator writes them. One key has one owner."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from sshaft.public_key import PublicKey
from sshaft_identity import limits
from sshaft_identity.database import Database
from sshaft_identity.errors import EnrolmentError
from sshaft_identity.tables import ssh_keys, users

USER_PATTERN = r"^[A-Za-z0-9._@+][A-Za-z0-9._@+-]{0,63}$"


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A key and its owner. `name` is the comment of the file it came from: foreign text."""

    user: str
    key: PublicKey
    name: str
    created_at: datetime


class Enrolment:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add_user(self, name: str, now: datetime) -> None:
        """Raises `EnrolmentError` for a name that is no user name or is taken."""
        if not re.fullmatch(USER_PATTERN, name):
            raise EnrolmentError("a user name is 1 to 64 of A-Z a-z 0-9 . _ @ + - and does not start with -")
        with self._database.write(alone="enrolment") as connection:
            if _has_user(connection, name):
                raise EnrolmentError(f"there is already a user {name}")
            connection.execute(insert(users).values(name=name, created_at=now))

    def users(self) -> list[str]:
        with self._database.read() as connection:
            return list(connection.scalars(select(users.c.name).order_by(users.c.name)))

    def has_user(self, name: str) -> bool:
        with self._database.read() as connection:
            return _has_user(connection, name)

    def remove_user(self, name: str) -> None:
        """The user and every key of theirs. Raises `EnrolmentError` if there is none."""
        with self._database.write(alone="enrolment") as connection:
            if not connection.execute(delete(users).where(users.c.name == name)).rowcount:
                raise EnrolmentError(f"there is no user {name}")

    def unlock(self, name: str) -> bool:
        """Forget the user's wrong codes; whether there were any."""
        with self._database.write() as connection:
            return limits.forget(connection, limits.Scope.USER, name)

    def add_keys(self, user: str, keys: Sequence[tuple[PublicKey, str]], now: datetime) -> list[PublicKey]:
        """Register keys with their names, all or none; what comes back are those that were not the user's before.

        Raises `EnrolmentError` if there is no such user, or if one of the keys is another's: two people with one key
        could each pass the other's login.
        """
        with self._database.write(alone="enrolment") as connection:
            if not _has_user(connection, user):
                raise EnrolmentError(f"there is no user {user}: `sshaft identity user add {user}` makes one")
            return [key for key, name in keys if _add_key(connection, user, key, name, now)]

    def keys(self, user: str | None = None) -> list[RegisteredKey]:
        """Everybody's keys, or one user's. Raises `EnrolmentError` if there is no such user."""
        query = select(ssh_keys).order_by(ssh_keys.c.user_name, ssh_keys.c.created_at, ssh_keys.c.fingerprint)
        with self._database.read() as connection:
            if user is None:
                return [registered_key(row) for row in connection.execute(query)]
            if not _has_user(connection, user):
                raise EnrolmentError(f"there is no user {user}")
            return [registered_key(row) for row in connection.execute(query.where(ssh_keys.c.user_name == user))]

    def remove_key(self, fingerprint: str) -> None:
        with self._database.write(alone="enrolment") as connection:
            if not connection.execute(delete(ssh_keys).where(ssh_keys.c.fingerprint == fingerprint)).rowcount:
                raise EnrolmentError(f"no key {fingerprint} is registered")


def registered_key(row: Row[Any]) -> RegisteredKey:
    return RegisteredKey(row.user_name, PublicKey(row.type, row.blob), row.name, row.created_at)


def _has_user(connection: Connection, name: str) -> bool:
    return connection.scalar(select(users.c.name).where(users.c.name == name)) is not None


def _add_key(connection: Connection, user: str, key: PublicKey, name: str, now: datetime) -> bool:
    owner = connection.scalar(select(ssh_keys.c.user_name).where(ssh_keys.c.fingerprint == key.fingerprint))
    if owner == user:
        return False
    if owner is not None:
        raise EnrolmentError(f"the key {key.fingerprint} is {owner}'s: one key has one owner, nothing was added")
    connection.execute(
        insert(ssh_keys).values(
            fingerprint=key.fingerprint,
            user_name=user,
            type=key.type,
            blob=key.blob,
            name=name,
            source="operator",
            created_at=now,
        )
    )
    return True
