"""Asks a provider for new tokens of a person who approved before, without the person (RFC 6749 §6)."""

from collections.abc import Mapping
from types import MappingProxyType

from sshaft.deadline import Deadline
from sshaft_oidc.provider import Provider, Tokens, error_of
from sshaft_oidc.remote_keys import OpenIdError, parse

_OF_CLIENT = ("invalid_client", "unauthorized_client", "unsupported_grant_type")


class GrantEndedError(OpenIdError):
    """The provider says `invalid_grant`: the refresh token, or what the person has approved, has ended (§5.2)."""

    code = "invalid_grant"


class NotRedeemedError(OpenIdError):
    """The provider refuses the request for another reason, `error`. The refresh token is as before."""

    def __init__(self, error: str) -> None:
        super().__init__(f"the provider gives no new tokens: {error}", code=error)
        self.is_of_client = error in _OF_CLIENT
        """Whether the provider refuses this client, whosever token it is."""


def redeem(
    provider: Provider, refresh_token: str, deadline: Deadline, more: Mapping[str, str] = MappingProxyType({})
) -> Tokens:
    """Returns new tokens, with a refresh token in them: the next one, or the same where the provider gives no other.

    `more` are further parameters. The provider may end the old one with its answer. It blocks.
    Raises `GrantEndedError`, `NotRedeemedError`, `OpenIdError` for an answer that proves nothing, and
    `RemoteServiceError` for a provider that gives none.
    """
    form = {**more, "grant_type": "refresh_token", "refresh_token": refresh_token}
    answer = provider.post(provider.metadata(deadline).token_endpoint, form, deadline)
    if answer.status == 200:
        tokens = parse(Tokens, answer, "the token endpoint")
        if not tokens.access_token:  # required (§5.1): it is no answer to this grant
            raise OpenIdError("the token endpoint gave no access_token")
        return tokens if tokens.refresh_token else tokens.model_copy(update={"refresh_token": refresh_token})
    error = error_of(answer)
    if (answer.status, error) == (400, "invalid_grant"):
        raise GrantEndedError("the provider says invalid_grant")
    raise NotRedeemedError(error)
