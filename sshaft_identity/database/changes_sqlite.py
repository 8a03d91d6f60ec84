"""Finds changes on SQLite, which has no notifications: polls the audit log for new events.

Every change of a challenge, an enrolment or an approval writes an event in the same transaction. SQLite has one writer
at a time, so ids grow in the order of commits. So one query for the events after the last one serves all waiters.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from sshaft_identity.database.changes import Changes
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import audit_events

MAX_EVENTS = 500
"""The most events that one query reads."""

_UNSEEN = frozenset(
    {"challenge.created", "challenge.shown", "challenge.presented", "enrolment.opened", "approval.opened"}
)
"""Events that change nothing that a waiter sees."""
_SUBJECTS = re.compile(r'"(?:challenge|enrolment|approval)s?":"([0-9a-f ]+)"')
"""Matches facts as `audit.log.canonical` writes them: one id, or several with blanks between them."""


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    at: datetime
    name: str = ""
    facts: str = ""

    @property
    def subjects(self) -> list[str]:
        """Returns the ids whose waiters must read again."""
        if self.name in _UNSEEN:
            return []
        return [each for found in _SUBJECTS.findall(self.facts) for each in found.split()]

    def is_same(self, other: "Event") -> bool:
        return (self.id, self.at) == (other.id, other.at)


class Follower:
    """Follows the audit log and wakes waiters."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes
        self._last: Event | None = None

    async def look_at_all(self) -> None:
        """Looks until there are no more events. After a look that fails, all waiters read again."""
        try:
            while await self.look():
                pass
        except SQLAlchemyError:
            self._changes.source_lost()
            raise

    async def look(self) -> bool:
        """Wakes the waiters for new events. Returns whether there may be more events."""
        events = [] if self._last is None else await run_in_threadpool(self._read_from, self._last)
        is_same = self._last is not None and len(events) > 0 and events[0].is_same(self._last)
        if not is_same or not self._changes.has_source:
            # This is the first look, or the last look failed, or another database is in place (`restore`) and the ids
            # mean nothing. The order matters: the next look finds every event after `_last`, and the waiters read
            # everything before.
            self._last = await run_in_threadpool(self._read_last)
            self._changes.source_connected()
            return False
        for event in events[1:]:
            for subject in event.subjects:
                self._changes.wake(subject)
        self._last = events[-1]
        return len(events) > MAX_EVENTS

    def _read_from(self, last: Event) -> list[Event]:
        """Returns the last event, if it still exists, and the events after it."""
        columns = audit_events.c.id, audit_events.c.at, audit_events.c.event, audit_events.c.facts
        query = select(*columns).where(audit_events.c.id >= last.id).order_by(audit_events.c.id).limit(MAX_EVENTS + 1)
        with self._database.read() as connection:
            return [Event(*row) for row in connection.execute(query)]

    def _read_last(self) -> Event | None:
        query = select(audit_events.c.id, audit_events.c.at).order_by(audit_events.c.id.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Event(*row)
