"""Runs the work of requests in other threads.

On SQLite it is one thread, and all waiting work shares one transaction: a commit waits for the disk, and a switch of
threads waits for the interpreter. No request is answered before the commit that holds its change.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

Result = TypeVar("Result")

_MAX_BATCH = 64
"""The most pieces of work in one transaction: the first piece waits for the last one."""
MAX_WAIT_SECONDS = 10.0
"""A piece of work that waited longer fails: no agent waits longer for its answer (`accept_seconds`).

Otherwise, if the database does not answer, a late request would wait for the time-outs of all earlier ones.
"""


@dataclass(slots=True)
class _Piece:
    """The work of one request."""

    work: Callable[[], Any]
    context: Context
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"
    since: float
    """When it was given, by the clock of `Batches`."""
    result: Any = None
    error: BaseException | None = None

    def do(self) -> None:
        try:
            self.result = self.context.run(self.work)
        except Exception as error:  # noqa: BLE001 - the caller of `run` gets it
            self.error = error

    def answer(self) -> None:
        if self.done.cancelled():
            return
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.result)


class Batches:
    """Collects work, and runs all that waits as one batch."""

    def __init__(
        self,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        *,
        threads: int = 1,
        most: int = _MAX_BATCH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`around` is entered for each batch of at most `most` pieces. If it raises at its end, all pieces fail."""
        self._around = around
        self._most = most
        self._threads = threads
        self._clock = clock
        self._waiting: deque[_Piece] = deque()
        self._lock = threading.Lock()
        self._busy = 0
        self._executor = ThreadPoolExecutor(threads, "batches")

    async def run(self, work: Callable[[], Result]) -> Result:
        """Runs `work` in a thread, in the caller's context. After MAX_WAIT_SECONDS raises `PoolTimeoutError`."""
        loop = asyncio.get_running_loop()
        piece = _Piece(work, copy_context(), loop, loop.create_future(), self._clock())
        with self._lock:
            self._waiting.append(piece)
            start_thread = self._busy < self._threads
            self._busy += start_thread
        if start_thread:
            self._executor.submit(self._work)
        result: Result = await piece.done
        return result

    def _work(self) -> None:
        while batch := self._next():
            try:
                with self._around():
                    for piece in batch:
                        if self._clock() - piece.since > MAX_WAIT_SECONDS:
                            piece.error = PoolTimeoutError("too many wait for the database")
                        else:
                            piece.do()
            except Exception as error:  # noqa: BLE001 - as above
                for piece in batch:
                    piece.error = piece.error or error
            for loop in {piece.loop for piece in batch}:
                loop.call_soon_threadsafe(_answer, [piece for piece in batch if piece.loop is loop])

    def _next(self) -> list[_Piece]:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            self._busy -= not batch
        return batch


def _answer(pieces: list[_Piece]) -> None:
    for piece in pieces:
        piece.answer()
