"""Limits how many logins and sign-ins each source address may begin within `WINDOW`.
No person is identified yet at that time, and each begin costs a database row or a call to the OpenID Provider.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

from sshaft_identity.common.addresses import source_of

MAX_SIGN_INS = 60
MAX_LOGINS = 1000
"""Higher than `MAX_SIGN_INS`: a whole company may log in from one address."""
MAX_UNKNOWN_USERS = 30
"""Events `user.unknown` of one client. The operator needs an example, not each of them."""
WINDOW = timedelta(minutes=5)
_MAX_SOURCES = 10_000


class Throttle:
    """Counts in this process only. It keeps tables small; `challenges.limits` bounds the guessing of codes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: OrderedDict[str, tuple[datetime, int]] = OrderedDict()

    def allows(self, address: str | None, now: datetime) -> bool:
        """Counts one more begin, and returns whether it is allowed. `address` may be another name of a source."""
        source = source_of(address or "")
        began, count = self._counts.pop(source, (now, 0))
        if not began <= now < began + WINDOW:  # the window is over, or the clock was set back
            began, count = now, 0
        self._counts[source] = began, count + 1
        if len(self._counts) > _MAX_SOURCES:
            self._counts.popitem(last=False)
        return count < self._most
