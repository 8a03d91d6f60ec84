"""Logs logins for names that nobody has. People who wait for such a login learn nothing, so the operator must."""

from sshaft.log import get_logger
from sshaft_identity.common.fields import one_line
from sshaft_identity.web.state import AppState

_MAX_LENGTH = 64


def note(state: AppState, user: str, client: str | None) -> None:
    """Logs `user.unknown`, with the user who is probably meant. Strangers can cause it, so the throttle limits it."""
    if not state.unknown_user_throttle.allows(client, state.clock()):
        return
    meant = filter(None, map(state.store.users.similar, _other_forms(user)))
    name = one_line(user)[:_MAX_LENGTH]
    get_logger().warning("user.unknown", user=name, client=client, similar=next(meant, None))


def _other_forms(user: str) -> list[str]:
    r"""Returns the name without blanks around it, without `@realm`, and without `DOMAIN\`."""
    name = user.strip()
    return [name, name.partition("@")[0], name.rpartition("\\")[2]]
