"""Records terminals as asciicast files in one folder.

Threads write the files, so a slow disk never holds up the event loop. A recording that fails ends itself and says so
once; the caller decides what follows.
"""

import asyncio
import os
import secrets
import stat
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sshaft.errors import ConfigurationError
from sshaft_web.recording.asciicast import AsciicastFile, Event, Header, Kind

_THREADS = 4
_MOST_PENDING = 1024 * 1024
"""Bytes of one recording that may wait for the disk before the recording is behind."""
_PATIENCE = 10.0
"""Seconds that the disk may take for one portion."""


class Recorder:
    """Starts recordings in one folder. `with_input`: they also hold what is typed, passwords included.

    `now` is the time of day, `clock` counts seconds. `executor` runs the writes. The disk may take `patience` seconds
    for one of them.
    """

    def __init__(
        self,
        directory: Path,
        *,
        with_input: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self._directory = directory
        self.with_input = with_input
        self._now = now
        self.clock = clock
        self.executor = executor or ThreadPoolExecutor(_THREADS, "recording")
        self.patience = patience
        self._running: set[asyncio.Task[None]] = set()

    @property
    def announcement(self) -> str:
        """Returns the sentence that the person reads before the first prompt."""
        typed = " and everything that you type" if self.with_input else ""
        return f"This terminal is recorded: everything that it shows{typed}."

    def start(
        self, columns: int, rows: int, title: str, on_failure: Callable[[str], None],
        on_room: Callable[[], None] = lambda: None,
    ) -> "Recording":  # fmt: skip
        """Begins a recording of a terminal. Its file is made meanwhile.

        `on_failure` gets a reason, once, if the recording fails. `on_room` is called when it is not behind any more.
        """
        started = self._now().astimezone(UTC)
        name = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}.cast"
        recording = Recording(name, self, on_failure, on_room)
        header = Header(columns, rows, int(started.timestamp()), title)
        task = asyncio.create_task(recording.keep(self._directory / name, header))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return recording

    async def wait_for_all(self) -> None:
        """Waits until the files of recordings that have ended are on the disk, as long as one write may take."""
        if self._running:
            await asyncio.wait(self._running, timeout=self.patience)


class Recording:
    """One terminal that is recorded into the file `name`. All methods belong to the event loop."""

    def __init__(
        self, name: str, recorder: Recorder, on_failure: Callable[[str], None], on_room: Callable[[], None]
    ) -> None:
        self.name = name
        self._recorder = recorder
        self._on_failure = on_failure
        self._on_room = on_room
        self._began = recorder.clock()
        self._pending: list[Event] = []
        self._size = 0
        self._wake = asyncio.Event()
        self._is_open = True
        self._step: asyncio.Future[Any] | None = None
        """What a thread does for this recording."""

    @property
    def is_open(self) -> bool:
        """Whether the recording goes on. It does not after a failure and after `finish`."""
        return self._is_open

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the disk that the terminal should wait, too."""
        return self._size > _MOST_PENDING

    def output(self, data: bytes) -> None:
        """Records what the terminal shows."""
        self._add("o", data)

    def input(self, data: bytes) -> None:
        """Records what the person types, if the configuration wants this."""
        if self._recorder.with_input:
            self._add("i", data)

    def resized(self, columns: int, rows: int) -> None:
        """Records a new size of the terminal."""
        self._add("r", f"{columns}x{rows}".encode())

    def finish(self) -> None:
        """Ends the recording. What waits is still written."""
        self._is_open = False
        self._wake.set()

    def _add(self, kind: Kind, data: bytes) -> None:
        if not self._is_open or not data:
            return
        self._pending.append((self._recorder.clock() - self._began, kind, data))
        self._size += len(data)
        self._wake.set()

    async def keep(self, path: Path, header: Header) -> None:
        """Makes the file and hands what waits to a thread, one portion after the other, until the end."""
        file = None
        try:
            file = await self._in_thread(AsciicastFile, path, header)
            while self._is_open or self._pending:
                await self._wake.wait()
                self._wake.clear()
                events, self._pending = self._pending, []
                await self._in_thread(file.write, events)
                self._written(events)
            await self._in_thread(file.close)
        except TimeoutError:
            self._fail(f"the disk gave no answer for {self._recorder.patience:.0f} s")
        except OSError as error:
            self._fail(error.strerror or type(error).__name__)
        finally:
            await self._abandon(file)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        self._step = loop.run_in_executor(self._recorder.executor, function, *arguments)
        return await asyncio.wait_for(asyncio.shield(self._step), self._recorder.patience)

    async def _abandon(self, file: AsciicastFile | None) -> None:
        """Closes the file as it is, as soon as no thread uses it. That changes nothing after a good end."""
        if self._step is not None and not self._step.done():
            await asyncio.wait([self._step])
            made = None if self._step.exception() else self._step.result()
            file = file or (made if isinstance(made, AsciicastFile) else None)
        if file is not None:
            await asyncio.get_running_loop().run_in_executor(self._recorder.executor, file.abandon)

    def _written(self, events: list[Event]) -> None:
        was_behind = self.is_behind
        self._size -= sum(len(data) for _, _, data in events)
        if was_behind and not self.is_behind:
            self._on_room()

    def _fail(self, reason: str) -> None:
        """Ends the recording, and says why. What the file has stays."""
        self._is_open = False
        self._pending, self._size = [], 0
        self._on_failure(reason)
        self._on_room()


def check_directory(directory: Path) -> None:
    """Raises `ConfigurationError` if recordings cannot be kept there, or if other accounts could change them."""
    try:
        found = directory.stat()
    except OSError as error:
        raise ConfigurationError(f"recording.directory {directory} cannot be used: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"recording.directory {directory} is no folder; name a folder")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            f"recording.directory {directory}: other accounts may write there; run: chmod go-w {directory}"
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigurationError(f"recording.directory {directory}: this account may not write there; change its owner")
