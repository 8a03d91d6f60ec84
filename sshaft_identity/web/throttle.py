"""Limits how many open logins and sign-ins each source may have within `WINDOW`.

No person is identified yet at that time, and each begin costs a database row or a call to the OpenID Provider. A source
is a browser that has passed a login here before, or else a network address (`known_browsers.source_of_request`).
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from threading import Lock

MAX_SIGN_INS = 60
MAX_LOGINS = 1000
"""Higher than `MAX_SIGN_INS`: a whole company may log in from one address."""
MAX_REPORTS = 600
"""Of one host. A host reports at most every two seconds."""
MAX_UNKNOWN_USERS = 30
"""Events `user.unknown` of one client. The operator needs an example, not each of them."""
WINDOW = timedelta(minutes=5)
_STEP = 30
"""Seconds: so exactly the age of a login is known."""
_MAX_SOURCES = 10_000


class Throttle:
    """Counts in this process only. It keeps tables small; `challenges.limits` bounds the guessing of codes.

    A login no longer counts when it has passed (`ended`) or when `WINDOW` is over. A refused begin does not count.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun: OrderedDict[str, dict[int, int]] = OrderedDict()
        """For each source: how many logins began in each step of `_STEP` seconds."""
        self._lock = Lock()

    def allows(self, source: str, now: datetime) -> bool:
        """Whether the source may begin one more login. If so, counts it."""
        with self._lock:
            steps = self._recent(source, now)
            if sum(steps.values()) >= self._most:
                return False
            steps[_step(now)] = steps.get(_step(now), 0) + 1
            if len(self._begun) > _MAX_SOURCES:
                self._begun.popitem(last=False)
            return True

    def ended(self, source: str, began: datetime) -> None:
        """Notes that a login of the source no longer counts."""
        with self._lock:
            steps = self._begun.get(source, {})
            if steps.get(_step(began), 0):
                steps[_step(began)] -= 1

    def wait(self, source: str, now: datetime) -> int:
        """Returns the seconds until the oldest login of the source no longer counts. 0: the source may begin now."""
        with self._lock:
            steps = {step: count for step, count in self._recent(source, now).items() if count}
        if sum(steps.values()) < self._most:
            return 0
        return min(steps) * _STEP + int(WINDOW.total_seconds()) - int(now.timestamp())

    def _recent(self, source: str, now: datetime) -> dict[int, int]:
        """Returns the counts of the steps within `WINDOW`. After the clock was set back, later steps are dropped."""
        first, last = _step(now - WINDOW) + 1, _step(now)
        steps = {step: count for step, count in self._begun.pop(source, {}).items() if first <= step <= last}
        self._begun[source] = steps
        return steps


def _step(moment: datetime) -> int:
    return int(moment.timestamp()) // _STEP
