"""Runs the background work of a serving process: the purge, notifications, the audit chain, news of changes, limits."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from sshaft.http_server import descriptors
from sshaft.http_server.connections import Connections, close_overdue
from sshaft.log import get_logger
from sshaft_identity.audit import chain
from sshaft_identity.database import changes_sqlite
from sshaft_identity.database.changes import Changes, watch_clock
from sshaft_identity.database.database import Database, reason
from sshaft_identity.face_support.notifications import Notifier
from sshaft_identity.service import purge
from sshaft_identity.web import refused_requests
from sshaft_identity.web.state import AppState

PURGE_SECONDS = 60
_SEAL_SECONDS = 1.0
_FOLLOW_SECONDS = 0.5
_NOTIFY_SECONDS = 1.0
_REFUSALS_SECONDS = 60.0
_DESCRIPTORS_SECONDS = 5.0
_REPORT_SECONDS = 0.5


def start(state: AppState, connections: Connections) -> list[asyncio.Task[None]]:
    """Starts the tasks that run until they are cancelled, and returns them."""
    database = state.store.database
    work: Iterable[tuple[str, Coroutine[Any, Any, None]]] = (
        ("purge", repeat("purge.failed", PURGE_SECONDS, partial(purge.run, database, state.clock))),
        ("changes", follow_changes(database, state.changes)),
        ("notifications", send_notifications(state)),
        ("refusals", record_refusals(state)),
        ("clock", watch_clock(state.changes)),
        ("connections", close_overdue(connections)),
        ("descriptors", repeat("descriptors.look_failed", _DESCRIPTORS_SECONDS, descriptors.Watch().look)),
        ("unknown users", report_unknown_users(state)),
    )
    tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in work]
    for task in tasks:
        task.add_done_callback(_log_fault)
    return tasks


async def repeat(event: str, every: float, step: Callable[[], Awaitable[None]]) -> None:
    """Runs `step` again and again until cancelled, with a pause of `every` seconds.
    A step that fails because of the database is tried again after the pause. `event` is logged once per outage.
    """
    works = True
    while True:
        try:
            await step()
        except SQLAlchemyError as error:
            if works:
                get_logger().warning(event, reason=reason(error))
            works = False
        else:
            works = True
        await asyncio.sleep(every)


async def follow_changes(database: Database, changes: Changes, every: float = _FOLLOW_SECONDS) -> None:
    """Wakes long polls and live pages for the changes that other processes make, until cancelled."""
    if database.is_postgresql:
        from sshaft_identity.database import changes_postgresql  # noqa: PLC0415 - psycopg, an extra of its own

        await changes_postgresql.listen(database.engine, changes)
        return
    try:
        await repeat("changes.look_failed", every, changes_sqlite.Follower(database, changes).look_at_all)
    finally:
        changes.source_lost()


async def send_notifications(state: AppState, every: float = _NOTIFY_SECONDS) -> None:
    """Tells clients that a login has ended, until cancelled."""
    notifier = Notifier(state.store, state.clock)
    try:
        await repeat("pings.look_failed", every, notifier.send_due)
    finally:
        notifier.close()


async def record_refusals(state: AppState, every: float = _REFUSALS_SECONDS) -> None:
    """Records the refused requests that were only counted, until cancelled and once more at the end."""
    try:
        await repeat("refusals.not_recorded", every, partial(run_in_threadpool, refused_requests.record_counts, state))
    finally:
        with suppress(SQLAlchemyError):
            refused_requests.record_counts(state)


async def report_unknown_users(state: AppState, every: float = _REPORT_SECONDS) -> None:
    """Logs the names that providers have sent and that nobody has, until cancelled."""
    step = partial(run_in_threadpool, state.unknown_users.report, state.store.users)
    await repeat("users.look_failed", every, step)


async def keep_sealing(
    database: Database, on_sealed: chain.OnSealed | None = None, every: float = _SEAL_SECONDS
) -> None:
    """Seals the events of the audit log, until cancelled. `on_sealed` gets the number of sealed events of each kind."""
    step = partial(run_in_threadpool, chain.seal_all, database, on_sealed)
    await repeat("audit.sealing_failed", every, step)


def _log_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        get_logger().error("background.failed", task=task.get_name(), error=type(error).__name__)
