"""Runs an event loop in a thread, for small servers whose test does not run one."""

import asyncio
import threading
from collections.abc import Awaitable
from typing import TypeVar

import asyncssh

T = TypeVar("T")


class LoopThread:
    """An event loop that runs until `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Awaitable[T]) -> T:
        """Returns what `work` gives in the event loop."""

        async def awaited() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(20)

    def close(self, server: asyncssh.SSHAcceptor) -> None:
        """Lets a server of the event loop listen no more, and waits for its end."""
        self._loop.call_soon_threadsafe(server.close)
        self.run(server.wait_closed())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
