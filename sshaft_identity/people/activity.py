"""Reads "my activity": the events of the audit log about one user, in plain words."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import audit_events, users
from sshaft_identity.people.key_policy import KeyRefusal

_PAGE_SIZE = 25

SENTENCES = {
    "challenge.created": "A login began",
    "challenge.shown": "The page of a login was opened",
    "challenge.presented": "A code was printed in ssh",
    "challenge.accepted": "A login was passed with ssh",
    "challenge.consumed": "The passed login was completed",
    "challenge.wrong_code": "A wrong code was tried",
    "limit.reached": "No code of yours is checked for a while",
    "challenge.rejected": "A login was denied",
    "challenge.expired": "A login ran out of time",
    "challenge.cancelled": "A login was cancelled",
    "user.added": "You were added as a user",
    "user.removed": "You were removed as a user",
    "user.unlocked": "The wrong codes no longer count",
    "user.bound": "Your account at the OpenID Provider was tied to your user name",
    "key.enrolled": "A key was added",
    "key.end_changed": "The end of a key was changed",
    "key.removed": "A key was removed",
    "key.renamed": "A key was renamed",
    "enrolment.opened": "An invitation to register a key was made",
    "enrolment.presented": "A key was presented",
    "enrolment.refused": "A presented key was refused",
    "enrolment.cancelled": "An invitation to register a key was cancelled",
    "session.started": "Signed in to my keys",
    "session.refused": "A sign-in to my keys was refused",
    "session.ended": "Signed out of my keys",
    "session.all_ended": "Signed out everywhere",
    "session.passed": "A help desk session was confirmed with ssh",
    "host_session.began": "A login to a host began",
    "host_session.ended": "A login to a host ended",
    "host_session.end_ordered": "A host was told to end a login",
    "host_session.all_ended": "The hosts were told to end all logins and to forget all approvals",
    "host_approval.remembered": "A host remembers your approval",
    "host_approval.forgotten": "A host has forgotten your approval",
    "host_approval.end_ordered": "A host was told to forget your approval",
    "desk.looked": "The help desk looked at your data",
    "desk.exported": "The help desk exported your data",
}
"""A sentence for every event about a user. An event of a later version shows its own name."""

REASONS = {
    "denied": "from ssh",
    "not_me": "in the browser, where somebody said that it was not theirs",
    "cancelled_in_browser": "in the browser",
    "tried_out": "too many wrong codes",
    "locked": "too many wrong codes in an hour",
    "same_code": "two logins had the same code",
    "superseded": "a newer login took its place",
    "other_subject": "somebody else signs in under this name at the OpenID Provider",
    "other_name": "this account of the OpenID Provider is tied to another user name",
    "signed_in_anew": "signed in anew",
    "not_my_key": "it was not yours",
    "already_presented": "another one was presented before it",
    KeyRefusal.TYPE: "its kind is not taken here",
    KeyRefusal.RSA_BITS: "it is too short",
    KeyRefusal.SECURITY_KEY: "only security keys are taken here",
    KeyRefusal.ATTESTATION: "the attestation of its maker was missing",
    KeyRefusal.TOO_MANY: "you have as many keys as you may have",
    KeyRefusal.TAKEN: "it is somebody else's",
    KeyRefusal.OWN: "it is yours already",
}
GOOD = frozenset({"challenge.accepted", "key.enrolled"})
BAD = frozenset({"challenge.wrong_code", "challenge.rejected", "enrolment.refused", "session.refused"})

_FACTS = (
    ("app", "App"),
    ("host", "Host"),
    ("account", "Account there"),
    ("reported_by", "Reported by"),
    ("ssh_address", "ssh from"),
    ("client_ip", "ssh from"),
    ("browser_address", "Browser at"),
    ("page_address", "Opened from"),
    ("name", "Name"),
    ("fingerprint", "Key"),
)
"""The facts that are shown, each with its label."""


@dataclass(frozen=True, slots=True)
class ActivityEvent:
    """One event as a person reads it. The values of `facts` are foreign text. `tone`: good, bad or plain."""

    id: int
    at: datetime
    sentence: str
    tone: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ActivityPage:
    """A page of events. `older` is the `before` of the next page; None: this page is the last."""

    events: list[ActivityEvent]
    older: int | None


class Activity:
    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, user: str, before: int | None = None) -> ActivityPage:
        """Returns a page of the user's events, the newest first, those older than the event `before`.

        Events about an earlier user of the same name are not among them.
        """
        columns = audit_events.c
        # Events before revision 0003 have no id of a user.
        is_own = (columns.user_id == users.c.id) | (columns.user_id.is_(None) & (columns.at >= users.c.created_at))
        query = select(audit_events).join(users, users.c.name == columns.user_name).where(users.c.name == user, is_own)
        query = query.order_by(columns.id.desc())
        if before is not None:
            query = query.where(audit_events.c.id < before)
        with self._database.read() as connection:
            rows = connection.execute(query.limit(_PAGE_SIZE + 1)).all()
        events = [_describe(row.id, row.at, row.event, json.loads(row.facts)) for row in rows[:_PAGE_SIZE]]
        return ActivityPage(events, events[-1].id if len(rows) > _PAGE_SIZE else None)


def _describe(identifier: int, at: datetime, event: str, facts: dict[str, Any]) -> ActivityEvent:
    sentence = SENTENCES.get(event, event)
    if event == "session.started" and facts.get("method") == "ssh":
        sentence += " with ssh"
    if reason := REASONS.get(str(facts.get("reason"))):
        sentence += f": {reason}"
    tone = "good" if event in GOOD else "bad" if event in BAD else "plain"
    labelled = tuple((label, str(facts[name])) for name, label in _FACTS if name in facts)
    return ActivityEvent(identifier, at, sentence, tone, labelled)
