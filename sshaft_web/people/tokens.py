"""Keeps the tokens of one sign-in, in memory only, and renews them before the access token ends."""

import asyncio
from collections.abc import Callable

from sshaft.deadline import Deadline
from sshaft.oauth.access_token import usable_until
from sshaft_oidc import refresh_grant
from sshaft_oidc.provider import Tokens
from sshaft_oidc.remote_keys import OpenIdError
from sshaft_web.people.provider import WebProvider
from sshaft_web.people.revocation import RevocationCheck

_SECONDS = 10.0


class TokenEndedError(OpenIdError):
    """The access token has ended, and there is no refresh token: the person has to sign in anew."""

    code = "sign_in_again"


class SessionTokens:
    """The tokens of one session. `clock` is in seconds, and never goes back."""

    def __init__(self, provider: WebProvider, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._provider = provider
        self._clock = clock
        self._renewal: asyncio.Task[None] | None = None
        self.revocation = RevocationCheck(provider, tokens, clock)
        self._take(tokens)

    def __repr__(self) -> str:
        return "SessionTokens()"

    @property
    def are_due(self) -> bool:
        """Whether the access token ends soon and can be renewed."""
        return self.current.refresh_token is not None and self._clock() >= self._renew_at

    async def access_token(self) -> str:
        """Returns an access token that has not ended.

        Raises `TokenEndedError`, `GrantEndedError` (the provider has ended the sign-in), other `OpenIdError`, or
        `RemoteServiceError`.
        """
        if self._clock() >= self._renew_at:
            await asyncio.shield(self._renewing())
        return str(self.current.access_token)

    def _renewing(self) -> "asyncio.Task[None]":
        """Returns the renewal that all wait for.

        It goes on without them: if its answer were lost, the next renewal would show a refresh token that was used,
        and a provider ends such a sign-in (RFC 9700 §4.14.2).
        """
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(self._renewed)
        return self._renewal

    def _renewed(self, renewal: "asyncio.Task[None]") -> None:
        self._renewal = None
        if not renewal.cancelled():
            renewal.exception()  # asyncio would log it, if nobody waits any more

    async def revoke(self) -> None:
        """Ends the tokens at the provider, if it offers that. Raises `OpenIdError` or `RemoteServiceError`."""
        if self._renewal is not None:
            await asyncio.wait([self._renewal])
        tokens = self.current
        await self._provider.ask(lambda client: client.revoke(tokens, Deadline.after(_SECONDS)))

    async def _renew(self) -> None:
        refresh_token = self.current.refresh_token
        if refresh_token is None:
            raise TokenEndedError("the access token has ended, and the provider has given no refresh token")
        more, deadline = self._provider.audience, Deadline.after(_SECONDS)
        self._take(await self._provider.ask(lambda client: refresh_grant.redeem(client, refresh_token, deadline, more)))

    def _take(self, tokens: Tokens) -> None:
        self.current = tokens
        self._renew_at = usable_until(self._clock(), tokens.expires_in)
