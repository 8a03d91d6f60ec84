"""Serves sockets on an event loop in a thread of its own: its questions delay no other socket."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from sshaft_agent.server import Server

T = TypeVar("T")


class ServerThread:
    """One server and its loop. The handlers of its endpoints run there, and may block it for a short time."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    async def start(self) -> None:
        """Opens the sockets and serves them. Raises `ConfigurationError`."""
        self._thread.start()
        try:
            await self._there(self.server.start())
        except BaseException:
            self._end()
            raise

    def end_repeated(self) -> None:
        self._loop.call_soon_threadsafe(self.server.end_repeated)

    async def stop(self) -> None:
        """Closes the sockets, waits until the open connections have ended, and ends the thread."""
        await self._there(self.server.stop())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
