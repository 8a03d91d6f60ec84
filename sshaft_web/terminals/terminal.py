"""One terminal of a person: its output, its flow control, and the page that shows it. It outlives its page."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

import asyncssh

from sshaft_web.files.session import FileSession
from sshaft_web.people.sessions import Session
from sshaft_web.targets import Target
from sshaft_web.terminals.output import Output
from sshaft_web.terminals.typed_lines import TypedLines

MOST_UNSEEN = 512 * 1024
"""The host writes no more while the page is so many bytes behind."""
_MOST_UNWATCHED = 1024 * 1024
"""Bytes that a host may write in a second while no page is there. Older output is forgotten."""


class State(StrEnum):
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    OPEN = "open"
    CLOSED = "closed"


class Page(Protocol):
    """The page that shows a terminal. `sent` and `seen` are offsets of the output."""

    sent: int
    seen: int

    def wake(self) -> None:
        """Says that there is output, or another state."""

    def replaced(self) -> None:
        """Says that another page shows the terminal from now on."""


class Listener(Protocol):
    """Hears of all that happens in a terminal, such as a recording. The host waits while one of them is behind."""

    @property
    def is_behind(self) -> bool: ...

    def wrote(self, data: bytes) -> None: ...

    def typed(self, data: bytes) -> None: ...

    def resized(self, columns: int, rows: int) -> None: ...

    def closed(self, reason: str) -> None: ...


@dataclass
class Size:
    columns: int
    rows: int


class Terminal:
    """A terminal. `id` is as long as a secret, but only its owner's session opens it. `clock` never goes back."""

    def __init__(
        self, terminal_id: str, session: Session, target: Target, size: Size, clock: Callable[[], float]
    ) -> None:
        self.id = terminal_id
        self.owner = session.person
        self.target = target
        self.account = ""
        self.size = size
        self.state = State.CONNECTING
        self.message = ""
        self.reason = ""
        """Why it has ended, as one word."""
        self.output = Output()
        self.bytes_in = 0
        self.listeners: list[Listener] = []
        self.recording: str | None = None
        """The name of the recording, if there is one or was one."""
        self.is_recorded = False
        self.connection: asyncssh.SSHClientConnection | None = None
        self.files: FileSession | None = None
        self.prompts = TypedLines(self.show)
        self.clock = clock
        self._page: Page | None = None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._is_paused = False
        self._unwatched = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self.ended = asyncio.Event()
        self.was_shown = False
        """Whether a page has shown its end."""
        self.left_at: float | None = clock()
        """Since when no page shows it."""
        self.active_at = clock()
        self.since = datetime.now(UTC)
        self._unwatch: Callable[[], None] = lambda: None
        self.belong_to(session)

    @property
    def bytes_out(self) -> int:
        return self.output.end

    @property
    def is_connected(self) -> bool:
        """Whether a page shows it."""
        return self._page is not None

    # What the page does

    def attach(self, page: Page) -> None:
        """Shows the terminal in this page. The page that has shown it loses it."""
        if self._page is not None:
            self._page.replaced()
        self._page = page
        self.left_at = None
        self._follow()

    def detach(self, page: Page) -> None:
        if self._page is page:
            self._page = None
            self.left_at = self.clock()
            self._unwatched = 0
            self._follow()

    def saw(self) -> None:
        """Says that the page or a listener has taken more output, or that the page was sent more."""
        self._follow()

    async def type(self, data: bytes) -> None:
        """Sends keys to the host. Waits while the host takes no more."""
        self.active()
        if self._channel is None:
            self.prompts.feed(data)
            return
        self.bytes_in += len(data)
        for listener in self.listeners:
            listener.typed(data)
        with suppress(OSError):  # the channel has just closed
            self._channel.write(data)
        if not self._writable.is_set():
            self._follow()  # a host that waits for its output to be read would wait for ever
            await self._writable.wait()
            self._follow()

    def resize(self, size: Size) -> None:
        if size == self.size:
            return
        self.size = size
        if self._channel is not None:
            self._channel.change_terminal_size(size.columns, size.rows)
        for listener in self.listeners:
            listener.resized(size.columns, size.rows)

    # What the host does

    def show(self, text: str) -> None:
        """Writes text of the login to the terminal."""
        self.wrote(text.encode(errors="replace"))

    def wrote(self, data: bytes) -> None:
        """Takes output of the host."""
        if not data or self.state is State.CLOSED:
            return
        self.active()
        self.output.add(data)
        self._unwatched += len(data)
        for listener in self.listeners:
            listener.wrote(data)
        self._follow()
        if self._page is not None:
            self._page.wake()

    def opened(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = channel
        if self._is_paused:
            channel.pause_reading()

    def may_write(self, *, may: bool) -> None:
        """Says whether the host takes keys."""
        if may:
            self._writable.set()
        else:
            self._writable.clear()

    # Its life

    def belong_to(self, session: Session) -> None:
        """Lets the terminal end with this session, and use its tokens."""
        self._unwatch()
        self.session = session
        self._unwatch = session.watch(lambda end: self.close(end, "Your sign-in has ended."))

    def active(self) -> None:
        """Says that somebody uses it."""
        self.active_at = self.clock()

    def used(self) -> None:
        """Says that a transfer of files uses it. It then stays open without a page, too."""
        self.active()
        if self.left_at is not None:
            self.left_at = self.clock()

    def tick(self) -> None:
        """Is called each second: without a page, the host may write some more."""
        self._unwatched = 0
        self._follow()

    def _leave_host(self) -> None:
        """Ends the shell and all transfers. The connection stays while unfinished uploads are removed from the host."""
        if self.files is None or self.files.uploads.are_finished:
            self.drop_connection()
            return
        self.files.sftp.close()
        if self._channel is not None:
            self._channel.abort()

    def drop_connection(self) -> None:
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    def become(self, state: State, message: str = "") -> None:
        """Changes the state. A terminal that has ended stays so, whatever its login still does."""
        if self.state is State.CLOSED:
            return
        self.state, self.message = state, message
        if self._page is not None:
            self._page.wake()

    def close(self, reason: str, message: str = "") -> None:
        """Ends it. The first reason counts."""
        if self.state is State.CLOSED:
            return
        self.reason = reason
        self.become(State.CLOSED, message)
        self.may_write(may=True)
        self._leave_host()
        for listener in self.listeners:
            listener.closed(reason)
        self._unwatch()
        self.ended.set()

    def _follow(self) -> None:
        """Lets the host write, or not.

        The channel hears of it a little later. asyncssh grants the whole window again when it hands over the first of
        the data that it has kept: if it were stopped within them, it would keep more and more.
        """
        is_behind = self._is_behind()
        if is_behind != self._is_paused:
            self._is_paused = is_behind
            asyncio.get_running_loop().call_soon(self._pause_or_resume)

    def _is_behind(self) -> bool:
        if any(each.is_behind for each in self.listeners):
            return True
        page = self._page
        if page is None:
            return self._unwatched > _MOST_UNWATCHED
        # While the host takes no keys, what was sent counts: what was seen stands behind these keys.
        at = page.seen if self._writable.is_set() else page.sent
        return self.output.end - at > (MOST_UNSEEN // 2 if self._is_paused else MOST_UNSEEN)

    def _pause_or_resume(self) -> None:
        if self._channel is None or self.state is State.CLOSED:
            return
        if self._is_paused:
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()
