"""What a clock that was put back must not give more time. Whatever lives for a while is over also when it was begun
"later" than now: else the code of five minutes ago would be good for another hour.
"""

from datetime import datetime, timedelta

AHEAD = timedelta(minutes=1)
"""How far something may have been begun ahead of this process's clock: other processes may run on other hosts."""


def latest_begin(now: datetime) -> datetime:
    """What was begun after that was begun by a clock that was wrong, or is wrong now."""
    return now + AHEAD
