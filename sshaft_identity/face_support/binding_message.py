"""Reads `binding_message` (CIBA §7.1), which ties the login that a program begins to the SSH login that passes it."""

from dataclasses import dataclass, field

from sshaft_identity.challenges.challenge import Binding
from sshaft_identity.challenges.codes import is_code
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import one_line
from sshaft_identity.web.oauth import OAuthError

_MAX_APP_LENGTH = 80
"""The most characters that ssh shows of the name of an application."""


@dataclass(frozen=True, slots=True)
class BindingMessage:
    """`app`: the application that ssh names to the person, with the words of the message if it has no code."""

    binding: Binding
    app: str
    code: str | None = field(default=None, repr=False)


def parse_binding_message(client: Client, app: str, message: str) -> BindingMessage:
    """Reads a code that the client has chosen, or words for the person if the operator allows logins without a code.

    Raises `OAuthError`.
    """
    if is_code(message):
        return BindingMessage(Binding.CODE_IN, app, message)
    return BindingMessage(Binding.NONE, _app_with_words(client, app, message))


def _app_with_words(client: Client, app: str, message: str) -> str:
    """Returns the text that ssh shows for a login without a code. Any SSH login of the person passes such a login, so
    the operator must allow it. Text without letters is refused, because the client may have meant it as a code.
    """
    if not client.allows_unbound:
        raise OAuthError("invalid_binding_message", "binding_message must be a code of 6 to 8 digits")
    text = f"{app}: {message}" if message else app
    has_letters = any(each.isalpha() for each in message)
    if (message and not has_letters) or message != one_line(message) or len(text) > _MAX_APP_LENGTH:
        most = _MAX_APP_LENGTH - len(app) - 2
        reason = f"binding_message must be a code of 6 to 8 digits, or words on one line of at most {most} characters"
        raise OAuthError("invalid_binding_message", reason)
    return text
