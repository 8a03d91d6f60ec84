"""Stores users: the names under which people log in.

A name can be given to another person later. So each user has an id too, which no other user ever gets. It is the name
if nobody had the name before, because relying parties compare it with the name; otherwise it is random.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import audit_events, users


@dataclass(frozen=True, slots=True)
class FoundUser:
    name: str
    id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LinkedAccount:
    """An account at the OpenID Provider: `iss` and `sub` of its ID tokens."""

    issuer: str
    subject: str


class Users:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, now: datetime) -> None:
        """Raises `RegistryError` if the name is not a user name, is taken, or differs from a taken one in case only."""
        with self._database.write(alone="enrolment") as connection:
            make_user(connection, name, now)

    def all(self) -> list[str]:
        """Returns the names in alphabetical order."""
        with self._database.read() as connection:
            return list(connection.scalars(select(users.c.name).order_by(users.c.name)))

    def found(self, beginning: str, most: int, after: str | None = None) -> list[FoundUser]:
        """Returns at most `most` users whose names begin with this text in any case, in the order of their names.

        `after` is the last name of the page before. An empty beginning finds everybody, and a text that no name can
        begin with finds nobody.
        """
        folded = beginning.lower()
        if folded and not re.fullmatch(USER_PATTERN, folded):
            return []
        column = users.c.folded_name
        query = select(users).order_by(column).limit(most).where(column > (after or "").lower())
        if folded:
            query = query.where(column >= folded, column < folded[:-1] + chr(ord(folded[-1]) + 1))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            # Revision 0003 left a name without its lower case if an older name differs in case only.
            exact = connection.execute(select(users).where(users.c.name == beginning)).all() if after is None else []
        unique = {row.name: FoundUser(row.name, row.id, row.created_at) for row in [*exact, *rows]}
        return list(unique.values())[:most]

    def exists(self, name: str) -> bool:
        """Whether there is a user with this name."""
        with self._database.read() as connection:
            return user_exists(connection, name)

    def similar(self, name: str) -> str | None:
        """Returns the user whose name differs from this one at most in case, or None."""
        with self._database.read() as connection:
            return _similar(connection, name)

    def id_of(self, name: str) -> str | None:
        """Returns the id of the user with this name, or None."""
        with self._database.read() as connection:
            return connection.scalar(select(users.c.id).where(users.c.name == name))

    def name_of(self, identifier: str) -> str | None:
        """Returns the name of the user with this id, or None."""
        with self._database.read() as connection:
            return connection.scalar(select(users.c.name).where(users.c.id == identifier))

    def linked_account(self, identifier: str) -> LinkedAccount | None:
        """Returns the account at the OpenID Provider that is linked to the user with this id, or None."""
        with self._database.read() as connection:
            row = connection.execute(select(users).where(users.c.id == identifier)).one_or_none()
        if row is None or row.oidc_issuer is None or row.oidc_subject is None:
            return None
        return LinkedAccount(row.oidc_issuer, row.oidc_subject)


def make_user(connection: Connection, name: str, now: datetime, *, by: str | None = None, **values: Fact) -> None:
    """Adds a user. `by` goes to the audit log; `values` are further columns. Raises as `Users.add` does."""
    if not re.fullmatch(USER_PATTERN, name):
        raise RegistryError("a user name is 1 to 64 of A-Z a-z 0-9 . _ @ + - and does not start with -")
    if user_exists(connection, name):
        raise RegistryError(f"there is already a user {name}")
    if other := _similar(connection, name):
        raise RegistryError(f"there is already a user {other}: two names must not differ in case only")
    connection.execute(insert(users).values(name=name, id=_new_id(connection, name), created_at=now, **values))
    record_event(connection, "user.added", now, user=name, by=by)


def user_exists(connection: Connection, name: str) -> bool:
    """Whether there is a user with this name."""
    return connection.scalar(select(users.c.name).where(users.c.name == name)) is not None


def _new_id(connection: Connection, name: str) -> str:
    """Returns an id that no user has or had. A name that looks like a random id may be one, so it is no id."""
    was_removed = audit_events.c.user_name == name, audit_events.c.event == "user.removed"
    had_owner = connection.scalar(select(audit_events.c.id).where(*was_removed).limit(1)) is not None
    return secrets.token_hex(16) if had_owner or re.fullmatch(r"[0-9a-f]{32}", name) else name


def _similar(connection: Connection, name: str) -> str | None:
    return connection.scalar(select(users.c.name).where(users.c.folded_name == name.lower()))
