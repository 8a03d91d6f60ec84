"""`binding_message` (CIBA §7.1): what ties a login that a program begins to the SSH login that passes it."""

from dataclasses import dataclass, field

from sshaft_identity.challenges.challenge import Binding
from sshaft_identity.challenges.codes import is_code
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import one_line
from sshaft_identity.web.oauth import OAuthError

MAX_APP_LENGTH = 80
"""What ssh shows of the name of an app."""


@dataclass(frozen=True, slots=True)
class BindingMessage:
    """`app`: what ssh says that the login is to."""

    binding: Binding
    app: str
    code: str | None = field(default=None, repr=False)


def parse_binding_message(client: Client, app: str, message: str) -> BindingMessage:
    """By a code that the client has chosen; or by nothing, where the operator allows it, with words that ssh shows."""
    if is_code(message):
        return BindingMessage(Binding.CODE_IN, app, message)
    return BindingMessage(Binding.NONE, _app_with_words(client, app, message))


def _app_with_words(client: Client, app: str, message: str) -> str:
    """What ssh says of a login without a code: any SSH login of the person passes it, so it is the operator's choice.
    What looks like a code, and is none, was meant for one.
    """
    if not client.allows_unbound:
        raise OAuthError("invalid_binding_message", "binding_message must be a code of 6 to 8 digits")
    shown = f"{app}: {message}" if message else app
    is_text = not message or any(each.isalpha() for each in message)
    if not is_text or message != one_line(message) or len(shown) > MAX_APP_LENGTH:
        room = MAX_APP_LENGTH - len(app) - 2
        raise OAuthError("invalid_binding_message", f"must be 6 to 8 digits, or a line of words, {room} letters long")
    return shown
