"""Users and their SSH keys. The list call reads them; the operator writes them. One key has one owner."""

import re
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from sshaft.public_key import PublicKey
from sshaft_identity.audit.log import record_event
from sshaft_identity.challenges import limits
from sshaft_identity.common.errors import EnrolmentError
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import ssh_keys, users
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.people.keys import NewKey, RegisteredKey, add_key, lock_user, owner_of, registered_key


class Enrolment:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add_user(self, name: str, now: datetime) -> None:
        """Raises `EnrolmentError` for a name that is no user name or is taken."""
        with self._database.write(alone="enrolment") as connection:
            if _has_user(connection, name):
                raise EnrolmentError(f"there is already a user {name}")
            make_user(connection, name, now)

    def users(self) -> list[str]:
        with self._database.read() as connection:
            return list(connection.scalars(select(users.c.name).order_by(users.c.name)))

    def has_user(self, name: str) -> bool:
        with self._database.read() as connection:
            return _has_user(connection, name)

    def remove_user(self, name: str, now: datetime) -> None:
        """The user and every key of theirs. Raises `EnrolmentError` if there is none."""
        with self._database.write(alone="enrolment") as connection:
            keys = connection.scalar(select(func.count()).select_from(ssh_keys).where(ssh_keys.c.user_name == name))
            if not connection.execute(delete(users).where(users.c.name == name)).rowcount:
                raise EnrolmentError(f"there is no user {name}")
            record_event(connection, "user.removed", now, user=name, keys=keys)

    def unlock(self, name: str) -> bool:
        """Forget the user's wrong codes; whether there were any."""
        with self._database.write() as connection:
            return limits.forget(connection, limits.Scope.USER, name)

    def add_keys(
        self, user: str, keys: Sequence[tuple[PublicKey, str] | NewKey], now: datetime, policy: KeyPolicy | None = None
    ) -> list[PublicKey]:
        """Register keys, all or none; what comes back are those that were not the user's before.

        Raises `EnrolmentError` if there is no such user, if one of the keys is another's (two people with one key
        could each pass the other's login), or if the policy does not allow it.
        """
        with self._database.write(alone="enrolment") as connection:
            if not lock_user(connection, user):
                raise EnrolmentError(f"there is no user {user}: `sshaft identity user add {user}` makes one")
            new = [each if isinstance(each, NewKey) else NewKey(*each) for each in keys]
            return [each.key for each in new if add_key(connection, user, each, policy or KeyPolicy(), now)]

    def keys(self, user: str | None = None) -> list[RegisteredKey]:
        """Everybody's keys, or one user's. Raises `EnrolmentError` if there is no such user."""
        query = select(ssh_keys).order_by(ssh_keys.c.user_name, ssh_keys.c.created_at, ssh_keys.c.fingerprint)
        with self._database.read() as connection:
            if user is None:
                return [registered_key(row) for row in connection.execute(query)]
            if not _has_user(connection, user):
                raise EnrolmentError(f"there is no user {user}")
            return [registered_key(row) for row in connection.execute(query.where(ssh_keys.c.user_name == user))]

    def remove_key(self, fingerprint: str, now: datetime) -> None:
        with self._database.write(alone="enrolment") as connection:
            owner = owner_of(connection, fingerprint)
            if not connection.execute(delete(ssh_keys).where(ssh_keys.c.fingerprint == fingerprint)).rowcount:
                raise EnrolmentError(f"no key {fingerprint} is registered")
            record_event(connection, "key.removed", now, user=owner, fingerprint=fingerprint)


def make_user(connection: Connection, name: str, now: datetime) -> None:
    """Raises `EnrolmentError` for a name that is no user name."""
    if not re.fullmatch(USER_PATTERN, name):
        raise EnrolmentError("a user name is 1 to 64 of A-Z a-z 0-9 . _ @ + - and does not start with -")
    connection.execute(insert(users).values(name=name, created_at=now))
    record_event(connection, "user.added", now, user=name)


def _has_user(connection: Connection, name: str) -> bool:
    return connection.scalar(select(users.c.name).where(users.c.name == name)) is not None
