"""Keeps one-time passwords: they stand for access tokens that do not fit into the answer to a prompt of ssh.

The client and the agent compute the same one from the token. Only the agent's memory has them.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_SECONDS = 300.0
_MOST = 4096
_MOST_OF_ONE_PERSON = 4
Person = tuple[str, str]
"""The issuer and the subject."""


@dataclass
class _Kept:
    """`uses` is how often the password opens something: as often as it was asked for, since ssh may run twice."""

    token: str
    person: Person
    until: float
    uses: int


def password_of(token: str) -> str:
    """Returns the one-time password of a token. mccli computes it in the same way."""
    return hashlib.sha512(token.encode()).hexdigest()


class OneTimePasswords:
    """The passwords of five minutes. Safe for several threads. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def make(self, token: str, person: Person) -> bool:
        """Whether the one-time password of this token is good now, for one more use.

        A person has a few at most: a new one ends the oldest. Nobody can end those of others.
        """
        password = password_of(token)
        with self._lock:
            self._forget()
            known = self._kept.pop(password, None)
            own = [each for each, kept in self._kept.items() if kept.person == person]
            for each in own[: max(0, len(own) + 1 - _MOST_OF_ONE_PERSON)]:
                del self._kept[each]
            if len(self._kept) >= _MOST:
                return False
            uses = min((known.uses if known else 0) + 1, _MOST_OF_ONE_PERSON)
            self._kept[password] = _Kept(token, person, self._clock() + _SECONDS, uses)
            return True

    def token_of(self, text: str) -> str:
        """Returns the token of a good one-time password, or the text itself. It uses nothing up."""
        with self._lock:
            self._forget()
            kept = self._kept.get(text)
            return text if kept is None else kept.token

    def use(self, text: str) -> bool:
        """Whether this is a one-time password that is good until now. Of several threads, one gets the last use."""
        with self._lock:
            self._forget()
            kept = self._kept.get(text)
            if kept is None:
                return False
            kept.uses -= 1
            if not kept.uses:
                del self._kept[text]
            return True

    def _forget(self) -> None:
        """Forgets what is too old. The oldest ones stand first."""
        now = self._clock()
        while self._kept and (first := next(iter(self._kept.items())))[1].until <= now:
            del self._kept[first[0]]
