"""Background clean-up: marks expired challenges and deletes old rows, a few at a time.
No decision depends on it: every reader compares the expiry with the clock.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, delete, literal, not_, select, tuple_, update
from starlette.concurrency import run_in_threadpool

from sshaft.log import get_logger
from sshaft_identity.approvals import approval as approval_states
from sshaft_identity.approvals import rows as approval_rows
from sshaft_identity.approvals.approvals import RETENTION as APPROVAL_RETENTION
from sshaft_identity.approvals.events import record_approval
from sshaft_identity.challenges.challenge import State
from sshaft_identity.challenges.challenges import RETENTION
from sshaft_identity.challenges.events import record_challenge
from sshaft_identity.challenges.limits import WINDOW
from sshaft_identity.challenges.rows import challenge_of, is_pending, is_unsettled
from sshaft_identity.common.times import CLOCK_TOLERANCE, latest_begin
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import (
    access_tokens,
    approvals,
    challenges,
    enrolments,
    face_requests,
    failures,
    host_reports,
    host_revocations,
    pings,
    sessions,
    used_values,
)

BATCH = 50
_SILENT_HOSTS = timedelta(days=30)
"""After this time, what a host that no longer reports has reported is deleted."""
_REVOCATIONS = timedelta(days=90)
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Rule:
    """`end` changes or deletes rows of `table` for which `is_over` holds, and returns their number."""

    name: str
    table: Table
    is_over: Callable[[datetime], ColumnElement[bool]]
    end: Callable[[Connection, Table, ColumnElement[bool], datetime], int]


def _delete(connection: Connection, table: Table, rows: ColumnElement[bool], _now: datetime) -> int:
    return connection.execute(delete(table).where(rows)).rowcount


def _expire(connection: Connection, _table: Table, rows: ColumnElement[bool], now: datetime) -> int:
    statement = update(challenges).where(rows).values(state=State.EXPIRED).returning(challenges)
    expired = [challenge_of(row) for row in connection.execute(statement)]
    for each in expired:
        record_challenge(connection, "challenge.expired", each, now)
    return len(expired)


def _expire_approvals(connection: Connection, _table: Table, rows: ColumnElement[bool], now: datetime) -> int:
    expired = approval_rows.change(connection, [rows], {"state": approval_states.State.EXPIRED})
    for each in expired:
        record_approval(connection, "approval.expired", each, now)
    return len(expired)


def _are_over(now: datetime) -> ColumnElement[bool]:
    """Whether the time of an open approval is over."""
    return approval_rows.is_open & not_(approval_rows.is_running(now))


def _shorten(connection: Connection, table: Table, rows: ColumnElement[bool], now: datetime) -> int:
    """Shortens lock-outs that were counted by a clock that was ahead: none lasts longer than one window."""
    return connection.execute(update(table).where(rows).values(ends_at=now + WINDOW)).rowcount


def _are_ahead(now: datetime) -> ColumnElement[bool]:
    """Whether a challenge was opened before the clock was set back."""
    return is_pending & (challenges.c.created_at > latest_begin(now))


RULES = (
    Rule("challenges_expired", challenges, lambda now: is_unsettled & (challenges.c.expires_at <= now), _expire),
    Rule("challenges_ahead", challenges, _are_ahead, _expire),
    Rule("challenges_forgotten", challenges, lambda now: challenges.c.created_at <= now - RETENTION, _delete),
    Rule("approvals_expired", approvals, _are_over, _expire_approvals),
    Rule("approvals_forgotten", approvals, lambda now: approvals.c.created_at <= now - APPROVAL_RETENTION, _delete),
    Rule("access_tokens_forgotten", access_tokens, lambda now: access_tokens.c.expires_at <= now, _delete),
    Rule("enrolments_forgotten", enrolments, lambda now: enrolments.c.expires_at <= now - RETENTION, _delete),
    Rule("face_requests_forgotten", face_requests, lambda now: face_requests.c.expires_at <= now, _delete),
    Rule("pings_forgotten", pings, lambda now: pings.c.next_at <= now - WINDOW, _delete),
    Rule("used_values_forgotten", used_values, lambda now: used_values.c.expires_at <= now, _delete),
    Rule("sessions_forgotten", sessions, lambda now: sessions.c.expires_at <= now, _delete),
    Rule("hosts_forgotten", host_reports, lambda now: host_reports.c.reported_at <= now - _SILENT_HOSTS, _delete),
    Rule(
        "host_revocations_forgotten", host_revocations, lambda now: host_revocations.c.at <= now - _REVOCATIONS, _delete
    ),
    Rule("failures_forgotten", failures, lambda now: failures.c.ends_at <= now, _delete),
    Rule("failures_shortened", failures, lambda now: failures.c.ends_at > now + WINDOW + CLOCK_TOLERANCE, _shorten),
)


async def run(database: Database, clock: Callable[[], datetime]) -> None:
    """Purges once. Raises `SQLAlchemyError` if the database fails."""
    done: Counter[str] = Counter()
    steps = batches(database, clock())
    while step := await run_in_threadpool(next, steps, None):
        done.update({step.rule: step.rows})
        await asyncio.sleep(_PAUSE_SECONDS)  # SQLite has no queue for its lock: other writers retry now and then
    if done.total():
        get_logger().info("purge.done", **+done)


@dataclass(frozen=True, slots=True)
class Batch:
    rule: str
    rows: int


def batches(database: Database, now: datetime) -> Iterator[Batch]:
    """Purges, one transaction a step, until no rule finds any more rows."""
    for rule in RULES:
        count = BATCH
        while count == BATCH and _has_rows(database, rule, now):
            with database.write() as connection:
                # Of several processes only one purges.
                count = _purge_batch(connection, rule, now) if database.may_be_alone(connection, "purge") else 0
            yield Batch(rule.name, count)


def _has_rows(database: Database, rule: Rule, now: datetime) -> bool:
    """Whether the rule finds a row. Reads only: the search may scan all pending rows, and no writer should wait."""
    with database.read() as connection:
        return connection.execute(select(literal(1)).where(rule.is_over(now)).limit(1)).first() is not None


def _purge_batch(connection: Connection, rule: Rule, now: datetime) -> int:
    columns = list(rule.table.primary_key.columns)
    key = columns[0] if len(columns) == 1 else tuple_(*columns)
    # A row that another transaction is changing is left for the next run, so that no deadlock is possible.
    chosen = select(*columns).where(rule.is_over(now)).limit(BATCH).with_for_update(skip_locked=True)
    rows = list(connection.execute(chosen))
    if not rows:
        return 0
    is_chosen = key.in_([row[0] if len(columns) == 1 else tuple(row) for row in rows])
    return rule.end(connection, rule.table, is_chosen, now)
