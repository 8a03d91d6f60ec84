"""What a serving process does beside answering: it listens for the changes that others make, and purges."""

import asyncio

from sshaft.log import get_logger
from sshaft_identity import purge
from sshaft_identity.app_state import AppState


def start(state: AppState) -> list[asyncio.Task[None]]:
    """Running until they are cancelled."""
    tasks = [asyncio.create_task(purge.every_minute(state.store.database, state.clock), name="purge")]
    if state.store.database.is_postgresql:
        from sshaft_identity import listener  # noqa: PLC0415 - psycopg, an extra of its own

        tasks.append(asyncio.create_task(listener.listen(state.store.database.engine, state.changes), name="listen"))
    for task in tasks:
        task.add_done_callback(_tell_of_fault)
    return tasks


def _tell_of_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        get_logger().error("background.failed", task=task.get_name(), error=type(error).__name__)
