"""Keeps who has signed in. A session lives in memory only, so a restart signs everybody out."""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from sshaft_web.people.tokens import SessionTokens

_MOST_PER_PERSON = 16


@dataclass(frozen=True, slots=True)
class Person:
    """A person at the provider. `name` is for pages and the log, and decides nothing."""

    issuer: str
    subject: str
    name: str = field(compare=False)


class End(StrEnum):
    """Why a session has ended."""

    SIGNED_OUT = "signed_out"
    LOGGED_OUT = "logged_out_at_provider"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REPLACED = "replaced"
    STOPPED = "stopped"


class Session:
    """A browser in which a person has signed in. `sid` is the provider's name of the sign-in, if it gives one."""

    def __init__(self, person: Person, sid: str | None, tokens: SessionTokens, until: float) -> None:
        self.person = person
        self.sid = sid
        self.tokens = tokens
        self.until = until
        self.end: End | None = None
        self._watchers: list[Callable[[End], object]] = []

    def watch(self, watcher: Callable[[End], object]) -> Callable[[], None]:
        """Calls `watcher` when the session ends. Returns what stops that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def finish(self, end: End) -> None:
        if self.end is None:
            self.end = end
            for watcher in self._watchers[:]:
                watcher(end)


class Sessions:
    """All sessions, by the digest of their cookie. `clock` is in seconds, and never goes back."""

    def __init__(
        self, clock: Callable[[], float], seconds: float, ended: Callable[[Person, End], object] = lambda *_: None
    ) -> None:
        """`ended` hears of each end. A session lasts `seconds` at most."""
        self._clock = clock
        self._ended = ended
        self._seconds = seconds
        self._by_digest: dict[bytes, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_digest.values()))

    def begin(self, person: Person, sid: str | None, tokens: SessionTokens) -> tuple[str, Session]:
        """Returns a new session and its cookie, which nobody has seen before the sign-in.

        If the person has too many, the oldest one ends.
        """
        own = [each for each in self if each.person == person]
        for oldest in own[: max(0, len(own) + 1 - _MOST_PER_PERSON)]:
            self.finish(oldest, End.REPLACED)
        cookie = secrets.token_urlsafe(32)
        session = Session(person, sid, tokens, self._clock() + self._seconds)
        self._by_digest[_digest(cookie)] = session
        return cookie, session

    def of(self, cookie: str | None) -> Session | None:
        """Returns the session of this cookie, if it has not ended."""
        session = self._by_digest.get(_digest(cookie)) if cookie else None
        if session is not None and self._clock() >= session.until:
            self.finish(session, End.EXPIRED)
            return None
        return session

    def finish(self, session: Session, end: End) -> None:
        """Ends a session, and all that depends on it."""
        if session.end is None:
            self._by_digest = {digest: each for digest, each in self._by_digest.items() if each is not session}
            session.finish(end)
            self._ended(session.person, end)

    def finish_where(self, issuer: str, subject: str | None, sid: str | None, end: End) -> int:
        """Ends the sign-in `sid`, or all of a person without it. Returns how many sessions have ended."""
        found = [each for each in self if each.person.issuer == issuer and _is_meant(each, subject, sid)]
        for session in found:
            self.finish(session, end)
        return len(found)

    def finish_expired(self) -> None:
        now = self._clock()
        for session in self:
            if now >= session.until:
                self.finish(session, End.EXPIRED)


def _is_meant(session: Session, subject: str | None, sid: str | None) -> bool:
    if subject is None:
        return sid is not None and session.sid == sid
    # A provider that names no sid in its ID tokens can only mean all sign-ins of the person.
    return session.person.subject == subject and (sid is None or session.sid in (None, sid))


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()
