"""Links accounts of the OpenID Provider to users: the first account that signs in under a user's name gets the user.

The link is by `sub`. A provider may give a name to another person later, but never a `sub` (OpenID Connect Core 1.0
§5.7).
"""

import re
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, select, update

from sshaft_identity.audit.log import record_event
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import users
from sshaft_identity.people.users import make_user
from sshaft_oidc.code_flow import Person


class LinkVerdict(StrEnum):
    """Whether an account is linked to the user of its name, or why not. The values are in the audit log."""

    KNOWN = "known"
    NO_USER = "no_user"
    OTHER_SUBJECT = "other_subject"
    OTHER_NAME = "other_name"


class LinkedAccounts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def link(self, person: Person, now: datetime, *, create: bool, address: str | None) -> LinkVerdict:
        """Links the person's account to the user `person.name` if it may, and says whether it is linked now.

        `create`: makes the user if there is none. `address` is the browser's. A refusal is audited.
        """
        with self._database.write(alone="enrolment") as connection:
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
    is_linked = (users.c.oidc_issuer == person.issuer) & (users.c.oidc_subject == person.subject)
    linked_user = connection.scalar(select(users.c.name).where(is_linked))
    if linked_user is not None:
        # A person who can change the claim with the name must not become one user after the other.
        return LinkVerdict.KNOWN if linked_user == person.name else LinkVerdict.OTHER_NAME
    row = connection.execute(select(users).where(users.c.name == person.name)).one_or_none()
    if row is None:
        if not create:
            return LinkVerdict.NO_USER
        try:
            make_user(connection, person.name, now, by="oidc", **account)
        except RegistryError:  # no user name, or another one in other case
            return LinkVerdict.NO_USER
    elif row.oidc_subject is not None:
        return LinkVerdict.OTHER_SUBJECT
    else:
        connection.execute(update(users).where(users.c.name == person.name).values(**account))
    record_event(connection, "user.bound", now, user=person.name, issuer=person.issuer, subject=person.subject)
    return LinkVerdict.KNOWN
