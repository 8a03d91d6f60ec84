"""Reads from the audit log how the last logins of a user ended, and says for an operator why one failed."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from sshaft_identity.common.language import N_
from sshaft_identity.database.tables import audit_events, users

Facts = dict[str, Any]

_PASSED = ("challenge.accepted",)
_CANCELLED = {
    "cancelled_in_browser": N_("The login was cancelled in the browser."),
    "superseded": N_("The login was begun again, and the newer one took its place."),
    "same_code": N_("Two logins had the same code, so both were cancelled: the application chose the code."),
}
_REJECTED = {
    "denied": N_("The login was denied in ssh."),
    "not_me": N_("Somebody said in the browser that the login was not theirs."),
    "tried_out": N_("Five wrong codes ended the login."),
    "locked": N_("The login ended, because wrong codes have locked the user out."),
}
_WHY = {
    "challenge.wrong_code": N_("The code was wrong."),
    "challenge.rejected": N_("The login was denied."),
    "challenge.expired": N_("Nobody passed the login before its time was over."),
    "challenge.cancelled": N_("The login was cancelled by the application, in the browser or by an operator."),
    "limit.reached": N_("Too many wrong codes: no code of the user is checked until {until}."),
    "session.refused": N_('The sign-in to "My keys" was refused.'),
    "enrolment.refused": N_("A presented key was refused."),
}
_SHOWN = (
    ("app", "application {}"),
    ("client", "client {}"),
    ("ssh_address", "ssh from {}"),
    ("browser_address", "browser at {}"),
    ("fingerprint", "key {}"),
    ("reason", "reason {}"),
)


@dataclass(frozen=True, slots=True)
class Ended:
    """One event that ended a login, or that kept a person out. The values of `facts` are foreign text."""

    at: datetime
    event: str
    facts: Facts

    @property
    def sentence(self) -> str:
        """Returns why the login failed, in a sentence of our own words. `{until}` is the place of a lock's end."""
        reason = str(self.facts.get("reason", ""))
        known = {"challenge.cancelled": _CANCELLED, "challenge.rejected": _REJECTED}.get(self.event, {})
        return known.get(reason) or _WHY.get(self.event, self.event)

    @property
    def why(self) -> str:
        """Returns the sentence in English."""
        return self.sentence.format(until=self.facts.get("until", "later"))

    @property
    def details(self) -> str:
        """Returns what is known about the login, as foreign text."""
        return ", ".join(words.format(self.facts[name]) for name, words in _SHOWN if name in self.facts)


def passed(connection: Connection, user: str, most: int = 5) -> list[Ended]:
    """Returns the last logins that the user passed, the newest first."""
    return _events(connection, user, _PASSED, most)


def failed(connection: Connection, user: str) -> Ended | None:
    """Returns the last event that kept the user out, or None."""
    return next(iter(failures(connection, user, 1)), None)


def failures(connection: Connection, user: str, most: int = 5) -> list[Ended]:
    """Returns the last events that kept the user out, the newest first."""
    return _events(connection, user, tuple(_WHY), most)


def _events(connection: Connection, user: str, names: tuple[str, ...], most: int) -> list[Ended]:
    """Returns the newest events. Those about an earlier user of the same name are not among them."""
    columns = audit_events.c
    is_own = (columns.user_id == users.c.id) | (columns.user_id.is_(None) & (columns.at >= users.c.created_at))
    query = (
        select(columns.at, columns.event, columns.facts)
        .join(users, users.c.name == columns.user_name)
        .where(columns.user_name == user, is_own, columns.event.in_(names))
        .order_by(columns.at.desc(), columns.id.desc())
        .limit(most)
    )
    return [Ended(row.at, row.event, json.loads(row.facts)) for row in connection.execute(query)]
