"""Reads "my activity": the events of the audit log about one user, in plain words. A login is one row."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, or_, select

from sshaft_identity.common.language import N_
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import audit_events, users
from sshaft_identity.people.key_policy import KeyRefusal
from sshaft_identity.people.last_logins import Ended

_PAGE_SIZE = 25
_BATCH = 200
_MOST_EVENTS = 5000
"""Events that are read for a page, at most."""
_LONGEST = timedelta(days=1)
"""The time between the first and the last event of a login, at most: the service may be down when its time is over."""

SENTENCES = {
    "challenge.wrong_code": N_("A wrong code was tried"),
    "limit.reached": N_("No code of yours is checked for a while"),
    "user.added": N_("You were added as a user"),
    "user.removed": N_("You were removed as a user"),
    "user.unlocked": N_("The wrong codes no longer count"),
    "user.bound": N_("Your account at the OpenID Provider was tied to your user name"),
    "key.enrolled": N_("A key was added"),
    "key.end_changed": N_("The end of a key was changed"),
    "key.removed": N_("A key was removed"),
    "key.renamed": N_("A key was renamed"),
    "enrolment.opened": N_("An invitation to register a key was made"),
    "enrolment.presented": N_("A key was presented"),
    "enrolment.refused": N_("A presented key was refused"),
    "enrolment.cancelled": N_("An invitation to register a key was cancelled"),
    "session.started": N_("Signed in to my keys"),
    "session.refused": N_("A sign-in to my keys was refused"),
    "session.ended": N_("Signed out of my keys"),
    "session.all_ended": N_("Signed out everywhere"),
    "session.passed": N_("A help desk session was confirmed with ssh"),
    "host_session.began": N_("A login to a host began"),
    "host_session.ended": N_("A login to a host ended"),
    "host_session.end_ordered": N_("A host was told to end a login"),
    "host_session.all_ended": N_("The hosts were told to end all logins and to forget all approvals"),
    "host_approval.remembered": N_("A host remembers your approval"),
    "host_approval.forgotten": N_("A host has forgotten your approval"),
    "host_approval.end_ordered": N_("A host was told to forget your approval"),
    "desk.looked": N_("The help desk looked at your data"),
    "desk.exported": N_("The help desk exported your data"),
}
"""A sentence for every event about a user that is no step of a login. An event of a later version shows its name."""

STEPS = {
    "challenge.created": N_("Begun"),
    "challenge.shown": N_("Page opened"),
    "challenge.presented": N_("Code printed in ssh"),
    "challenge.wrong_code": N_("Wrong code"),
    "challenge.accepted": N_("Passed with ssh"),
    "challenge.consumed": N_("Completed"),
    "approval.opened": N_("A host asked you to approve an SSH login"),
    "approval.approved": N_("You approved an SSH login"),
    "approval.denied": N_("An SSH login was denied"),
    "approval.reported": N_("You reported an SSH login as not yours"),
    "approval.wrong_digits": N_("Wrong digits were typed in ssh"),
    "approval.verified": N_("The digits of an SSH login were right"),
    "approval.passed": N_("You logged in at a host"),
    "approval.expired": N_("An SSH login ran out of time"),
    "approval.ended": N_("An SSH login went away"),
}
"""The steps of a login. `last_logins` has the sentences of the other ends of a web login."""

REASONS = {
    "other_subject": N_("somebody else signs in under this name at the OpenID Provider"),
    "other_name": N_("this account of the OpenID Provider is tied to another user name"),
    "signed_in_anew": N_("signed in anew"),
    "tried_out": N_("too many tries were wrong"),
    "gone": N_("ssh has ended it"),
    "not_my_key": N_("it was not yours"),
    "already_presented": N_("another one was presented before it"),
    KeyRefusal.TYPE: N_("its kind is not taken here"),
    KeyRefusal.RSA_BITS: N_("it is too short"),
    KeyRefusal.SECURITY_KEY: N_("only security keys are taken here"),
    KeyRefusal.ATTESTATION: N_("the attestation of its maker was missing"),
    KeyRefusal.TOO_MANY: N_("you have as many keys as you may have"),
    KeyRefusal.TAKEN: N_("it is somebody else's"),
    KeyRefusal.OWN: N_("it is yours already"),
}
GOOD = frozenset({"key.enrolled"})
BAD = frozenset({"approval.wrong_digits", "challenge.wrong_code", "enrolment.refused", "session.refused"})
_SIGNED_IN_WITH_SSH = N_("Signed in to my keys with ssh")

_FACTS = (
    ("app", N_("App")),
    ("host", N_("Host")),
    ("account", N_("Account there")),
    ("reported_by", N_("Reported by")),
    ("ssh_address", N_("ssh from")),
    ("client_ip", N_("ssh from")),
    ("browser_address", N_("Browser at")),
    ("page_address", N_("Opened from")),
    ("name", N_("Name")),
    ("fingerprint", N_("Key")),
)
"""The facts that are shown, each with its label."""


class Outcome(StrEnum):
    """How a login has ended."""

    PASSED = "passed"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_OUTCOMES = {
    "challenge.accepted": Outcome.PASSED,
    "challenge.consumed": Outcome.PASSED,
    "challenge.rejected": Outcome.DENIED,
    "challenge.cancelled": Outcome.CANCELLED,
    "challenge.expired": Outcome.EXPIRED,
    "approval.passed": Outcome.PASSED,
    "approval.denied": Outcome.DENIED,
    "approval.reported": Outcome.DENIED,
    "approval.ended": Outcome.CANCELLED,
    "approval.expired": Outcome.EXPIRED,
}
_BEGINNINGS = ("challenge.created", "approval.opened")
_KINDS = ("challenge", "approval")
"""The kinds of logins: web logins and SSH logins to hosts. Their events have this fact, the id of the login."""
_LAST_STEPS = {"session.started": "challenge", "session.passed": "challenge"}
"""Events that a web login to our own pages ends with, and the fact that is its id. A sign-in elsewhere has none."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the audit log. The values of `facts` are foreign text."""

    id: int
    at: datetime
    name: str
    facts: dict[str, Any]

    @property
    def login(self) -> str | None:
        """Returns the login of which this event is a step, or None."""
        kind = self.name.partition(".")[0]
        fact = kind if kind in _KINDS else _LAST_STEPS.get(self.name, "")
        return self.facts.get(fact)

    @property
    def sentence(self) -> str:
        if self.name == "session.started" and self.facts.get("method") == "ssh":
            return _SIGNED_IN_WITH_SSH
        if self.login is None:
            return SENTENCES.get(self.name, self.name)
        known = STEPS.get(self.name) or SENTENCES.get(self.name)
        return known or Ended(self.at, self.name, self.facts).sentence

    @property
    def reason(self) -> str | None:
        """Returns why it happened, or None. The sentence of a step says it already."""
        return None if self.is_of_web_login else REASONS.get(str(self.facts.get("reason")))

    @property
    def is_of_web_login(self) -> bool:
        return self.login is not None and not self.name.startswith("approval.")

    @property
    def is_bad(self) -> bool:
        return self.name in BAD or _OUTCOMES.get(self.name) is Outcome.DENIED

    def shown(self, *names: str) -> list[tuple[str, str]]:
        """Returns these facts, or all that are shown, each with its label."""
        return [(label, str(self.facts[n])) for n, label in _FACTS if n in self.facts and (not names or n in names)]

    @property
    def step_facts(self) -> list[tuple[str, str]]:
        """Returns what this step of a login adds to the facts of the row. A completed login repeats its pass."""
        adds = self.name.startswith("challenge.") and self.name != "challenge.consumed"
        return self.shown("ssh_address", "fingerprint") if adds else []


@dataclass(frozen=True, slots=True)
class Happening:
    """A row: a login with all its steps, or another event. `events` are the newest first."""

    events: list[Event]

    @property
    def newest(self) -> Event:
        return self.events[0]

    @property
    def is_login(self) -> bool:
        return self.newest.login is not None

    @property
    def is_whole(self) -> bool:
        """Whether no older event belongs to it."""
        return not self.is_login or self.events[-1].name in _BEGINNINGS

    @property
    def outcome(self) -> Outcome | None:
        """Returns how a login has ended. None: it waits, or it is no login."""
        known = (_OUTCOMES.get(each.name) for each in self.events)
        return next((each for each in known if each is not None), None)

    @property
    def tone(self) -> str:
        """Returns good, bad or plain."""
        if self.outcome is Outcome.PASSED or self.newest.name in GOOD:
            return "good"
        return "bad" if any(each.is_bad for each in self.events) else "plain"

    @property
    def app(self) -> str | None:
        """Returns the application of a web login, or the host of an SSH login; None: the audit log does not say."""
        name = "app" if self.newest.is_of_web_login else "host"
        return next((each.facts[name] for each in self.events if name in each.facts), None)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Returns the facts of the row, each with its label. Those of a step stand with the step."""
        if not self.is_login:
            return self.newest.shown()
        names = ["browser_address", "page_address"]
        if not self.newest.is_of_web_login:
            names += ["account", "ssh_address", "fingerprint"]
        return list(dict.fromkeys(pair for each in self.events for pair in each.shown(*names)))


@dataclass(frozen=True, slots=True)
class ActivityPage:
    """A page of rows. `older` is the `before` of the next page; None: this page is the last."""

    happenings: list[Happening]
    older: int | None


class Activity:
    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, user: str, before: int | None = None) -> ActivityPage:
        """Returns a page of what happened to the user, the newest first. A row has the place of its newest event.

        `before`: only rows older than this event. Events about an earlier user of the same name are not among them.
        """
        rows: dict[object, Happening] = {}
        last: Event | None = None
        older = None
        with self._database.read() as connection:
            elsewhere = _logins_since(connection, user, before)
            for event in _newest_first(connection, user, before):
                row = event.login or event.id
                if row in elsewhere:
                    continue
                if row in rows:
                    rows[row].events.append(event)
                elif len(rows) < _PAGE_SIZE:
                    rows[row], last = Happening([event]), event
                elif last is not None:
                    older = last.id
                    if all(each.is_whole for each in rows.values()) or event.at < last.at - _LONGEST:
                        break
        return ActivityPage(list(rows.values()), older)


def _own(user: str) -> Select[Any]:
    """Returns a query for the events of the user."""
    columns = audit_events.c
    # Events before revision 0003 have no id of a user.
    is_own = (columns.user_id == users.c.id) | (columns.user_id.is_(None) & (columns.at >= users.c.created_at))
    return select(audit_events).join(users, users.c.name == columns.user_name).where(users.c.name == user, is_own)


def _newest_first(connection: Connection, user: str, before: int | None) -> Iterator[Event]:
    """Yields the events of the user that are older than `before`, at most `_MOST_EVENTS`."""
    for _ in range(_MOST_EVENTS // _BATCH):
        query = _own(user) if before is None else _own(user).where(audit_events.c.id < before)
        found = connection.execute(query.order_by(audit_events.c.id.desc()).limit(_BATCH)).all()
        for row in found:
            yield _event(row)
        if len(found) < _BATCH:
            return
        before = found[-1].id


def _event(row: Row[Any]) -> Event:
    return Event(row.id, row.at, row.event, json.loads(row.facts))


def _logins_since(connection: Connection, user: str, before: int | None) -> set[str]:
    """Returns the logins that are on an earlier page, and can have steps on this one."""
    at = connection.scalar(select(audit_events.c.at).where(audit_events.c.id == before))
    if at is None:
        return set()
    columns = audit_events.c
    is_of_login = or_(*(columns.event.startswith(f"{kind}.") for kind in _KINDS), columns.event.in_(_LAST_STEPS))
    query = _own(user).where(columns.id >= before, columns.at <= at + _LONGEST, is_of_login)
    found = map(_event, connection.execute(query.order_by(columns.id).limit(_MOST_EVENTS)))
    return {each.login for each in found if each.login is not None}
