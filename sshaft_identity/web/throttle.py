"""How many sign-ins one address may begin in a while: nobody is behind them yet, and each costs a row in the database
or a question to the OpenID Provider.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

from sshaft_identity.common.addresses import source_of

MOST = 60
WINDOW = timedelta(minutes=5)
REMEMBERED = 10_000


class Throttle:
    """Counted in this process only: it keeps the table small; guessing is bounded elsewhere (`limits`)."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._counts: OrderedDict[str, tuple[datetime, int]] = OrderedDict()

    def allows(self, address: str | None, now: datetime) -> bool:
        """Whether one more may begin, and counts it."""
        subject = source_of(address or "")
        began, count = self._counts.pop(subject, (now, 0))
        if not began <= now < began + WINDOW:  # over, or the clock was put back
            began, count = now, 0
        self._counts[subject] = began, count + 1
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        return count < self._most
