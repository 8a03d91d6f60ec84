"""What a serving process does beside answering: it hears of others' changes, watches the clock, and purges."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from sshaft.log import get_logger
from sshaft_identity.database import changes_sqlite
from sshaft_identity.database.changes import watch_clock
from sshaft_identity.face_support import notifications
from sshaft_identity.service import purge
from sshaft_identity.web.state import AppState


def start(state: AppState) -> list[asyncio.Task[None]]:
    """Running until they are cancelled."""
    tasks = [
        asyncio.create_task(purge.every_minute(state.store.database, state.clock), name="purge"),
        asyncio.create_task(hear(state), name="hear"),
        asyncio.create_task(notifications.keep_sending(state), name="pings"),
        asyncio.create_task(watch_clock(state.changes), name="clock"),
    ]
    for task in tasks:
        task.add_done_callback(_tell_of_fault)
    return tasks


def hear(state: AppState) -> Coroutine[Any, Any, None]:
    """Tells `changes` of what others change, until cancelled."""
    database = state.store.database
    if database.is_postgresql:
        from sshaft_identity.database import changes_postgresql  # noqa: PLC0415 - psycopg, an extra of its own

        return changes_postgresql.listen(database.engine, state.changes)
    return changes_sqlite.follow(database, state.changes)


def _tell_of_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        get_logger().error("background.failed", task=task.get_name(), error=type(error).__name__)
