"""Stores users: the names under which people log in."""

import re
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from sshaft_identity.audit.log import record_event
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import ssh_keys, users


class Users:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, now: datetime) -> None:
        """Raises `RegistryError` if the name is not a user name or is taken."""
        with self._database.write(alone="enrolment") as connection:
            if user_exists(connection, name):
                raise RegistryError(f"there is already a user {name}")
            make_user(connection, name, now)

    def all(self) -> list[str]:
        """Returns the names in alphabetical order."""
        with self._database.read() as connection:
            return list(connection.scalars(select(users.c.name).order_by(users.c.name)))

    def exists(self, name: str) -> bool:
        """Whether there is a user with this name."""
        with self._database.read() as connection:
            return user_exists(connection, name)

    def remove(self, name: str, now: datetime) -> None:
        """Removes the user and all keys of the user. Raises `RegistryError` if there is no such user."""
        with self._database.write(alone="enrolment") as connection:
            keys = connection.scalar(select(func.count()).select_from(ssh_keys).where(ssh_keys.c.user_name == name))
            if not connection.execute(delete(users).where(users.c.name == name)).rowcount:
                raise RegistryError(f"there is no user {name}")
            record_event(connection, "user.removed", now, user=name, keys=keys)


def make_user(connection: Connection, name: str, now: datetime) -> None:
    """Adds a user whose name is not taken. Raises `RegistryError` if the name is not a user name."""
    if not re.fullmatch(USER_PATTERN, name):
        raise RegistryError("a user name is 1 to 64 of A-Z a-z 0-9 . _ @ + - and does not start with -")
    connection.execute(insert(users).values(name=name, created_at=now))
    record_event(connection, "user.added", now, user=name)


def user_exists(connection: Connection, name: str) -> bool:
    """Whether there is a user with this name."""
    return connection.scalar(select(users.c.name).where(users.c.name == name)) is not None
