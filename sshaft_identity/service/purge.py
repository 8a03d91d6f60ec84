"""What time has decided is written down, and what nobody asks after any more is forgotten: in the background, a few
rows at a time. Nothing depends on it: whether something has expired is decided by the clock wherever it is read.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, delete, literal, select, tuple_, update
from starlette.concurrency import run_in_threadpool

from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import State
from sshaft_identity.challenges.challenges import RETENTION
from sshaft_identity.challenges.events import record_challenge
from sshaft_identity.challenges.limits import WINDOW
from sshaft_identity.challenges.rows import challenge_of, is_pending, is_unsettled
from sshaft_identity.common.times import CLOCK_TOLERANCE, latest_begin
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import (
    access_tokens,
    challenges,
    enrolments,
    face_requests,
    failures,
    pings,
    sessions,
    used_values,
)

BATCH = 50
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Rule:
    """`end` is given those rows of `table` for which `is_over` holds, and says how many it ended."""

    name: str
    table: Table
    is_over: Callable[[datetime], ColumnElement[bool]]
    end: Callable[[Connection, Table, ColumnElement[bool], datetime], int]


def _forget(connection: Connection, table: Table, those: ColumnElement[bool], _now: datetime) -> int:
    return connection.execute(delete(table).where(those)).rowcount


def _expire(connection: Connection, _table: Table, those: ColumnElement[bool], now: datetime) -> int:
    ended = update(challenges).where(those).values(state=State.EXPIRED).returning(challenges)
    done = [challenge_of(row) for row in connection.execute(ended)]
    for each in done:
        record_challenge(connection, "challenge.expired", each, now)
    return len(done)


def _shorten(connection: Connection, table: Table, those: ColumnElement[bool], now: datetime) -> int:
    """Counted by a clock that was ahead: nobody is locked out for longer than one window."""
    return connection.execute(update(table).where(those).values(ends_at=now + WINDOW)).rowcount


def _are_ahead(now: datetime) -> ColumnElement[bool]:
    """Begun by a clock that was put back since."""
    return is_pending & (challenges.c.created_at > latest_begin(now))


RULES = (
    Rule("challenges_expired", challenges, lambda now: is_unsettled & (challenges.c.expires_at <= now), _expire),
    Rule("challenges_ahead", challenges, _are_ahead, _expire),
    Rule("challenges_forgotten", challenges, lambda now: challenges.c.created_at <= now - RETENTION, _forget),
    Rule("access_tokens_forgotten", access_tokens, lambda now: access_tokens.c.expires_at <= now, _forget),
    Rule("enrolments_forgotten", enrolments, lambda now: enrolments.c.expires_at <= now - RETENTION, _forget),
    Rule("face_requests_forgotten", face_requests, lambda now: face_requests.c.expires_at <= now, _forget),
    Rule("pings_forgotten", pings, lambda now: pings.c.next_at <= now - WINDOW, _forget),
    Rule("used_values_forgotten", used_values, lambda now: used_values.c.expires_at <= now, _forget),
    Rule("sessions_forgotten", sessions, lambda now: sessions.c.expires_at <= now, _forget),
    Rule("failures_forgotten", failures, lambda now: failures.c.ends_at <= now, _forget),
    Rule("failures_shortened", failures, lambda now: failures.c.ends_at > now + WINDOW + CLOCK_TOLERANCE, _shorten),
)


async def run(database: Database, clock: Callable[[], datetime]) -> None:
    """Purges once. Raises what SQLAlchemy raises if the database fails."""
    done: Counter[str] = Counter()
    steps = batches(database, clock())
    while step := await run_in_threadpool(next, steps, None):
        done.update({step.rule: step.rows})
        await asyncio.sleep(PAUSE_SECONDS)  # SQLite's other writers ask for the lock now and then, they do not queue
    if done.total():
        get_logger().info("purge.done", **+done)


@dataclass(frozen=True, slots=True)
class Batch:
    rule: str
    rows: int


def batches(database: Database, now: datetime) -> Iterator[Batch]:
    """Purge, one transaction a step, until nothing is left that a rule meets."""
    for rule in RULES:
        count = BATCH
        while count == BATCH and _is_any(database, rule, now):
            with database.write() as connection:
                # Of several processes one purges; what it does the others need not do.
                count = _batch(connection, rule, now) if database.may_be_alone(connection, "purge") else 0
            yield Batch(rule.name, count)


def _is_any(database: Database, rule: Rule, now: datetime) -> bool:
    """A look that no writer waits for: to find nothing may take a walk through all that is pending."""
    with database.read() as connection:
        return connection.execute(select(literal(1)).where(rule.is_over(now)).limit(1)).first() is not None


def _batch(connection: Connection, rule: Rule, now: datetime) -> int:
    columns = list(rule.table.primary_key.columns)
    key = columns[0] if len(columns) == 1 else tuple_(*columns)
    # A row that somebody is changing now is left for the next time: nobody waits, and nothing can deadlock.
    chosen = select(*columns).where(rule.is_over(now)).limit(BATCH).with_for_update(skip_locked=True)
    rows = list(connection.execute(chosen))
    if not rows:
        return 0
    mine = key.in_([row[0] if len(columns) == 1 else tuple(row) for row in rows])
    return rule.end(connection, rule.table, mine, now)
