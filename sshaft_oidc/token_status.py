"""Asks a provider whether an access token is still good: its introspection (RFC 7662), or else its UserInfo."""

from collections.abc import Callable

from pydantic import ValidationError

from sshaft.deadline import Deadline
from sshaft.validation import first_fault
from sshaft_oidc.provider import InvalidTokenError, Provider
from sshaft_oidc.remote_keys import Document, OpenIdError

Question = Callable[[Provider, str, Deadline], bool]
"""Returns whether a token is good. It blocks.

Raises `OpenIdError` for an answer that says neither yes nor no, and `RemoteServiceError` for no answer.
"""


class _Status(Document):
    """What counts here of an introspection answer (RFC 7662 §2.2)."""

    active: bool


def by_introspection(provider: Provider, token: str, deadline: Deadline) -> bool:
    try:
        return _Status.model_validate(provider.introspect(token, deadline)).active
    except ValidationError as error:
        raise OpenIdError(f"the introspection endpoint: {first_fault(error)}") from None


def by_userinfo(provider: Provider, token: str, deadline: Deadline) -> bool:
    try:
        provider.userinfo(token, deadline)
    except InvalidTokenError:
        return False
    return True


QUESTIONS: tuple[Question, ...] = (by_introspection, by_userinfo)
"""The first one counts that a provider can answer."""
