"""Listens for the notifications of PostgreSQL, with one connection a process.

Triggers send one for every changed challenge and enrolment, see the migrations.
"""

import asyncio
from typing import Any

import psycopg
from sqlalchemy import Engine

from sshaft.log import get_logger
from sshaft_identity.database.changes import CHANNEL, Changes

_SILENCE_SECONDS = 10
"""After so much silence the connection is checked: a dead connection is silent, too."""
_CHECK_TIMEOUT_SECONDS = 5
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0


async def listen(engine: Engine, changes: Changes) -> None:
    """Listens until cancelled. A lost connection is made again, with a growing pause between the attempts."""
    _, options = engine.dialect.create_connect_args(engine.url)
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(**options, autocommit=True)
            async with connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                get_logger().info("changes.listening")
                pause = FIRST_PAUSE_SECONDS
                changes.source_connected()
                await _pass_on(connection, changes)
        except (psycopg.Error, OSError, TimeoutError) as error:
            if pause == FIRST_PAUSE_SECONDS:  # logged once per outage; requests log their own failures
                get_logger().warning("changes.not_listening", reason=_reason(error))
        finally:
            changes.source_lost()
        await asyncio.sleep(pause)
        pause = min(pause * 2, MAX_PAUSE_SECONDS)


async def _pass_on(connection: psycopg.AsyncConnection[Any], changes: Changes) -> None:
    """Passes notifications on until the connection fails."""
    while True:
        async for notification in connection.notifies(timeout=_SILENCE_SECONDS):
            if notification.payload:
                changes.wake(notification.payload)
            else:
                changes.wake_all()
        async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
            await connection.execute("SELECT 1")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
