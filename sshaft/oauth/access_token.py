"""Keeps the access token: all threads share it, until just before its end or until a server refuses it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from sshaft.deadline import Deadline
from sshaft.errors import ReachError

_DEFAULT_LIFETIME = 60.0
"""Seconds, if the server leaves out `expires_in` (RFC 6749 §5.1 only recommends it)."""


@dataclass(frozen=True)
class AccessToken:
    """An access token. `expires_at` is in seconds of the monotonic clock."""

    value: str
    expires_at: float


def usable_until(now: float, expires_in: float | None) -> float:
    """Returns when to stop using a token with a lifetime of `expires_in` seconds: a tenth earlier, 30 s at most."""
    lifetime = _DEFAULT_LIFETIME if expires_in is None else expires_in
    return now + lifetime - min(30.0, lifetime / 10)


class AccessTokens:
    """Gives out the current access token. One thread at a time fetches a new one, and the others wait for it."""

    def __init__(self, fetch: Callable[[Deadline], AccessToken], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._current: AccessToken | None = None

    def get(self, deadline: Deadline, refused: AccessToken | None = None) -> AccessToken:
        """Returns a token that is not `refused` (by a 401). Raises `ReachError`, or what `fetch` raises."""
        current = self._current
        if self._is_good(current, refused):
            return current
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise ReachError("no access token in time", unsent=True)
        try:
            current = self._current
            if self._is_good(current, refused):
                return current
            self._current = None
            self._current = self._fetch(deadline)
            return self._current
        finally:
            self._lock.release()

    def seconds_left(self) -> float | None:
        """Returns the remaining lifetime of the current token, or None if there is no token."""
        current = self._current
        return None if current is None else max(0.0, current.expires_at - self._clock())

    def _is_good(self, token: AccessToken | None, refused: AccessToken | None) -> TypeGuard[AccessToken]:
        return token is not None and token is not refused and self._clock() < token.expires_at
