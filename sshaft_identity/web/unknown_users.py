"""Logs logins for names that nobody has. People who wait for such a login learn nothing, so the operator must.

The event is written in the background. The answer to the request must not take longer than for a known name.
"""

from collections import deque
from datetime import datetime

from sshaft.log import get_logger
from sshaft_identity.common.fields import one_line
from sshaft_identity.people.users import Users
from sshaft_identity.web.throttle import MAX_UNKNOWN_USERS, Throttle

_MAX_LENGTH = 64
_MAX_WAITING = 1000


class UnknownUsers:
    """The names that wait to be logged. Strangers can bring names, so their number is limited for each client."""

    def __init__(self) -> None:
        self._throttle = Throttle(MAX_UNKNOWN_USERS)
        self._waiting: deque[tuple[str, str | None]] = deque(maxlen=_MAX_WAITING)

    def note(self, user: str, client: str | None, now: datetime) -> None:
        """Notes a name that a client has brought."""
        if self._throttle.allows(client or "", now):
            self._waiting.append((user, client))

    def report(self, users: Users) -> None:
        """Logs `user.unknown` for each noted name, with the user who is probably meant. Looks for that user."""
        while self._waiting:
            user, client = self._waiting.popleft()
            meant = filter(None, map(users.similar, _other_forms(user)))
            name = one_line(user)[:_MAX_LENGTH]
            get_logger().warning("user.unknown", user=name, client=client, similar=next(meant, None))


def _other_forms(user: str) -> list[str]:
    r"""Returns the name without blanks around it, without `@realm`, and without `DOMAIN\`."""
    name = user.strip()
    return [name, name.partition("@")[0], name.rpartition("\\")[2]]
