"""Who signs in by the OpenID Provider becomes one of our users: the first account there that comes under a name has it.

Names are given anew when people leave; `sub` never is (OpenID Connect Core 1.0 §5.7).
"""

import re
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update

from sshaft_identity.audit.log import record_event
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import users
from sshaft_oidc.code_flow import Person


class LinkVerdict(StrEnum):
    KNOWN = "known"
    NO_USER = "no_user"
    OTHER_SUBJECT = "other_subject"
    OTHER_NAME = "other_name"


class LinkedAccounts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def link(self, person: Person, now: datetime, *, create: bool, address: str | None) -> LinkVerdict:
        """Whether `person.name` is this person's user here, from now on if it was nobody's. A no is audited."""
        with self._database.write() as connection:
            verdict = _link(connection, person, now, create=create)
            if verdict is not LinkVerdict.KNOWN:
                user = person.name if re.fullmatch(USER_PATTERN, person.name) else None
                record_event(
                    connection, "session.refused", now, user=user, method="oidc", reason=verdict,
                    subject=person.subject, browser_address=address,
                )  # fmt: skip
            return verdict


def _link(connection: Connection, person: Person, now: datetime, *, create: bool) -> LinkVerdict:
    account = {"oidc_issuer": person.issuer, "oidc_subject": person.subject}
    theirs = (users.c.oidc_issuer == person.issuer) & (users.c.oidc_subject == person.subject)
    bound_to = connection.scalar(select(users.c.name).where(theirs))
    if bound_to is not None:
        # Somebody who may change the claim that names them must not become one person after the other.
        return LinkVerdict.KNOWN if bound_to == person.name else LinkVerdict.OTHER_NAME
    row = connection.execute(select(users).where(users.c.name == person.name)).one_or_none()
    if row is None:
        if not create or not re.fullmatch(USER_PATTERN, person.name):
            return LinkVerdict.NO_USER
        connection.execute(insert(users).values(name=person.name, created_at=now, **account))
        record_event(connection, "user.added", now, user=person.name, by="oidc")
    elif row.oidc_subject is not None:
        return LinkVerdict.OTHER_SUBJECT
    else:
        connection.execute(update(users).where(users.c.name == person.name).values(**account))
    record_event(connection, "user.bound", now, user=person.name, issuer=person.issuer, subject=person.subject)
    return LinkVerdict.KNOWN
