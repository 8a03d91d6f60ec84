"""All terminals of this process: the limits, and what ends them."""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from sshaft_oidc.refresh_grant import GrantEndedError
from sshaft_web.configuration import Limits
from sshaft_web.files.session import REMOVAL_SECONDS
from sshaft_web.people.sessions import End, Person, Session, Sessions
from sshaft_web.targets import Target
from sshaft_web.terminals import opening
from sshaft_web.terminals.opening import HostApi
from sshaft_web.terminals.pace import Pace
from sshaft_web.terminals.terminal import Listener, Size, Terminal

_STOP_SECONDS = REMOVAL_SECONDS + 1
CLOSED = "closed"
"""The reason of a terminal that the person has closed."""
Observer = Callable[[Terminal], Listener | None]
"""Returns what hears of a new terminal, or None."""


class Audit(Protocol):
    """Writes what the log says of one terminal."""

    def opened(self) -> None: ...

    def closed(self, reason: str) -> None: ...


class TooManyError(Exception):
    """A limit is reached. The text is for the person."""


class Terminals:
    """Opens terminals on `targets`, and ends them. `clock` is in seconds, and never goes back."""

    def __init__(
        self, targets: Mapping[str, Target], limits: Limits, sessions: Sessions, clock: Callable[[], float],
        new_audit: Callable[[Terminal, str], Audit],
    ) -> None:  # fmt: skip
        """`new_audit` gets a terminal and the address of its browser."""
        self.targets = targets
        self.observers: list[Observer] = []
        self._limits = limits
        self._sessions = sessions
        self._clock = clock
        self._new_audit = new_audit
        self._open: dict[str, Terminal] = {}
        self._unseen: dict[str, Terminal] = {}
        """Those that have ended while no page showed them. A page can still come for their last output."""
        self._pace = Pace(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._apis = {name: HostApi(each.service) for name, each in targets.items() if each.service is not None}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Terminal]:
        return iter(list(self._open.values()))

    def of(self, person: Person) -> list[Terminal]:
        """Returns the open terminals of a person, the oldest first."""
        return [each for each in self if each.owner == person]

    def unseen(self, person: Person) -> list[Terminal]:
        """Returns the terminals of a person that have ended while no page showed them."""
        return [each for each in self._unseen.values() if each.owner == person and not each.was_shown]

    def find(self, person: Person, terminal_id: str) -> Terminal | None:
        """Returns a terminal of this person. The terminal of another person is as one that does not exist."""
        terminal = self._open.get(terminal_id) or self._unseen.get(terminal_id)
        if terminal is None or terminal.owner != person or terminal.was_shown:
            return None
        return terminal

    def open(self, session: Session, target: Target, size: Size, user: str, client: str) -> Terminal:
        """Returns a new terminal, whose shell opens meanwhile. Raises `TooManyError`."""
        if len(self.of(session.person)) >= self._limits.terminals_per_person:
            raise TooManyError(
                f"You have {self._limits.terminals_per_person} open terminals, which is the limit. Close one of them."
            )
        if len(self) >= self._limits.terminals:
            raise TooManyError("All terminals are in use. Try again in some minutes.")
        if not self._pace.takes(session.person):
            raise TooManyError("You have opened too many terminals in a short time. Try again in a minute.")
        terminal = Terminal(secrets.token_urlsafe(32), session, target, size, self._clock)
        self._open[terminal.id] = terminal
        terminal.listeners += [each for observer in self.observers if (each := observer(terminal)) is not None]
        task = asyncio.create_task(self._run(terminal, user, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return terminal

    async def _run(self, terminal: Terminal, user: str, client: str) -> None:
        audit = self._new_audit(terminal, client)
        try:
            await opening.run(terminal, self._apis.get(terminal.target.name), user, audit.opened)
        except GrantEndedError:
            self._sessions.finish(terminal.session, End.REVOKED)
        finally:
            terminal.close("stopped")
            del self._open[terminal.id]
            if terminal.session.end is None and not terminal.was_shown and terminal.reason != CLOSED:
                self._keep(terminal)
            audit.closed(terminal.reason)

    def _keep(self, terminal: Terminal) -> None:
        """Keeps what has ended for the next page, as long as a terminal without a page is kept."""
        own = [each for each in self._unseen.values() if each.owner == terminal.owner]
        if len(own) >= self._limits.terminals_per_person:
            del self._unseen[own[0].id]
        if len(self._unseen) < self._limits.terminals:
            terminal.left_at = self._clock()
            self._unseen[terminal.id] = terminal

    def hand_over(self, before: Session, after: Session) -> None:
        """Gives the terminals of a session to the next one of the same person in the same browser."""
        if before.person == after.person:
            for terminal in self:
                if terminal.session is before:
                    terminal.belong_to(after)

    def tick(self) -> None:
        """Is called each second: ends what nobody uses."""
        now = self._clock()
        self._pace.forget()
        for terminal in self:
            terminal.tick()
            if now - terminal.active_at >= self._limits.idle_seconds:
                terminal.close("idle", "The terminal was idle for too long.")
            elif self._is_left(terminal, now):
                terminal.close("left", "No page has shown the terminal for too long.")

        for terminal in list(self._unseen.values()):
            if self._is_left(terminal, now) or terminal.was_shown or terminal.session.end is not None:
                del self._unseen[terminal.id]

    def _is_left(self, terminal: Terminal, now: float) -> bool:
        """Whether no page has shown the terminal for too long."""
        return terminal.left_at is not None and now - terminal.left_at >= self._limits.keep_seconds

    async def remove_abandoned_uploads(self) -> None:
        """Removes the unfinished uploads that nobody has gone on with for `idle_seconds`."""
        files = [each.files for each in self if each.files is not None]
        await asyncio.gather(*(each.remove_unused_uploads(self._limits.idle_seconds) for each in files))

    async def stop(self) -> None:
        """Ends all terminals."""
        for terminal in self:
            terminal.close("stopped", "The service was stopped. Open the terminal again in a minute.")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)
