"""Remembers for a minute whose a good token is, so that the provider is not asked for each request of a client."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

from sshaft_oidc.access_tokens import AccessToken

_SECONDS = 60.0
"""An end of the token, or of the person at the provider, takes effect after this time."""
_MOST = 4096


class KnownTokens:
    """The good tokens, by their hashes. Safe for several threads.

    `clock` is in seconds since 1970, and `monotonic` in seconds that no change of the time moves.
    """

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[float, AccessToken]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, token: str) -> AccessToken | None:
        """Returns what is known of a token. None: nothing, or it is too old, or the token has expired."""
        with self._lock:
            until, found = self._known.get(_key(token), (0.0, None))
            if found is None or self._monotonic() >= until:
                return None
            return None if found.expires_at is not None and self._clock() >= found.expires_at else found

    def put(self, token: str, found: AccessToken) -> None:
        """Remembers a token that has just been verified. The oldest one of too many is forgotten."""
        key = _key(token)
        with self._lock:
            self._known[key] = self._monotonic() + _SECONDS, found
            self._known.move_to_end(key)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
