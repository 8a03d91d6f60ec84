"""Logs logins for names that nobody has. People who wait for such a login learn nothing, so the operator must."""

from sshaft.log import get_logger
from sshaft_identity.common.fields import one_line
from sshaft_identity.web.state import AppState

_MAX_LENGTH = 64


def note(state: AppState, user: str, client: str | None) -> None:
    """Logs `user.unknown`. Strangers can cause it, so the throttle limits it.

    Asks the database nothing: the time of an answer must not reveal which users exist.
    """
    if state.unknown_user_throttle.allows(client or "", state.clock()):
        get_logger().warning("user.unknown", user=one_line(user)[:_MAX_LENGTH], client=client)
