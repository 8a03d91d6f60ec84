"""On SQLite nobody tells of changes. But every step of a challenge or an enrolment is an event of the audit log,
written in the same transaction, and as there is one writer at a time, ids rise in the order of commits. So one question
a look is enough for all who wait: what came after the last event that was seen?
"""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from sshaft_identity.database.changes import Changes
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import audit_events

MAX_EVENTS = 500
"""How many events one look reads."""

UNSEEN = frozenset({"challenge.created", "challenge.shown", "challenge.presented", "enrolment.opened"})
"""Events after which nobody who waits sees anything new."""
_SUBJECT = re.compile(r'"(?:challenge|enrolment)":"([0-9a-f]+)"')
"""In facts as `audit.canonical` writes them."""


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    at: datetime
    name: str = ""
    facts: str = ""

    @property
    def subjects(self) -> list[str]:
        """Whose waiters are to look."""
        return [] if self.name in UNSEEN else _SUBJECT.findall(self.facts)

    def is_same(self, other: "Event") -> bool:
        return (self.id, self.at) == (other.id, other.at)


class Follower:
    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes
        self._last: Event | None = None

    async def look_at_all(self) -> None:
        """Looks until there is nothing more. A look that fails misses nothing: the next one begins where it began."""
        while await self.look():
            pass

    async def look(self) -> bool:
        """Wake those who wait for what has changed. Whether there may be more."""
        events = [] if self._last is None else await run_in_threadpool(self._read_from, self._last)
        if self._last is None or not events or not events[0].is_same(self._last):
            # The first look; or another database is in the place of the one before (`restore`), and its ids say
            # nothing. First the last event, then everybody's look: what comes after is found by the next of ours.
            self._last = await run_in_threadpool(self._read_last)
            self._changes.source_connected()
            return False
        for event in events[1:]:
            for subject in event.subjects:
                self._changes.wake(subject)
        self._last = events[-1]
        return len(events) > MAX_EVENTS

    def _read_from(self, last: Event) -> list[Event]:
        """The last one itself, if it is still there, and those after it."""
        columns = audit_events.c.id, audit_events.c.at, audit_events.c.event, audit_events.c.facts
        query = select(*columns).where(audit_events.c.id >= last.id).order_by(audit_events.c.id).limit(MAX_EVENTS + 1)
        with self._database.read() as connection:
            return [Event(*row) for row in connection.execute(query)]

    def _read_last(self) -> Event | None:
        query = select(audit_events.c.id, audit_events.c.at).order_by(audit_events.c.id.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Event(*row)
