"""The work of requests in other threads. On SQLite it is one thread, and all that waits is one transaction: a commit
waits for the disk, and every step to another thread waits for the interpreter, so many requests share both. Nobody is
answered before the commit that holds their change.
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

MAX_BATCH = 64
"""Pieces of work in one transaction: the first of them waits for the last."""
MAX_WAIT_SECONDS = 10.0
"""Seconds until a piece's turn comes: no agent waits longer for its answer (`accept_seconds`). Where the database does
not answer, who came later would wait for the time-outs of all who came before.
"""


@dataclass(slots=True)
class _Piece:
    work: Callable[[], Any]
    context: Context
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"
    since: float
    result: Any = None
    error: BaseException | None = None

    def do(self) -> None:
        try:
            self.result = self.context.run(self.work)
        except Exception as error:  # noqa: BLE001 - whoever asked for it gets it
            self.error = error

    def tell(self) -> None:
        if self.done.cancelled():
            return
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.result)


class Batches:
    def __init__(
        self,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        *,
        threads: int = 1,
        most: int = MAX_BATCH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`around` is entered for each batch, of at most `most` pieces; if it raises at its end, everybody's work has
        failed with that. What has waited for too long is not begun.
        """
        self._around = around
        self._most = most
        self._threads = threads
        self._clock = clock
        self._waiting: deque[_Piece] = deque()
        self._lock = threading.Lock()
        self._busy = 0
        self._executor = ThreadPoolExecutor(threads, "batches")

    async def run(self, work: Callable[[], Result]) -> Result:
        loop = asyncio.get_running_loop()
        piece = _Piece(work, copy_context(), loop, loop.create_future(), self._clock())
        with self._lock:
            self._waiting.append(piece)
            one_more = self._busy < self._threads
            self._busy += one_more
        if one_more:
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
                loop.call_soon_threadsafe(_tell, [piece for piece in batch if piece.loop is loop])

    def _next(self) -> list[_Piece]:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            self._busy -= not batch
        return batch


def _tell(pieces: list[_Piece]) -> None:
    for piece in pieces:
        piece.tell()
