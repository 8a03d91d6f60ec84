"""Asks the OpenID Provider in threads of its own, so that a slow provider delays no terminal."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

import anyio.to_thread

from sshaft.deadline import Deadline
from sshaft_oidc.code_flow import CodeFlow, SignIn
from sshaft_oidc.provider import Provider
from sshaft_web.configuration import Settings

CALLBACK = "/sign-in/callback"
_THREADS = 8
_SECONDS = 10.0
OFFLINE = "offline_access"
"""The scope of a refresh token (OpenID Connect Core 1.0 §11)."""
Result = TypeVar("Result")


class WebProvider:
    """The provider at which people sign in. Its methods raise `OpenIdError` and `RemoteServiceError`."""

    def __init__(self, settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Raises `ConfigurationError`: a file of the settings cannot be used."""
        self.settings = settings.provider
        self.revocation_seconds = settings.limits.revocation_seconds
        http = self.settings.http_client("provider")
        self.now = now
        self.client = Provider(self.settings.issuer, self.settings.credentials(), http, now)
        self.redirect_uri = settings.public_url + CALLBACK
        self.flow = CodeFlow(self.client, self.settings.scopes, self.redirect_uri)
        self._strangers, self._signed_in = (anyio.CapacityLimiter(_THREADS) for _ in range(2))

    @property
    def audience(self) -> Mapping[str, str]:
        """The parameters that ask for an audience: RFC 8707 for an address, and the older `audience`."""
        audience = self.settings.audience
        if audience is None:
            return {}
        return {"audience": audience} | ({"resource": audience} if "://" in audience else {})

    async def ask(self, question: Callable[[Provider], Result], *, for_stranger: bool = False) -> Result:
        """Returns what a question to the provider gives. It may block.

        Questions that anybody can cause wait for threads of their own, and never hold up those of the sessions.
        """
        limiter = self._strangers if for_stranger else self._signed_in
        return await anyio.to_thread.run_sync(lambda: question(self.client), limiter=limiter)

    async def authorization_url(self, attempt: str) -> str:
        """Returns the address to send the browser to, with the wish for a refresh token if there is a scope for it."""
        return await self.ask(
            lambda client: self.flow.authorization_url(attempt, self._wishes(client)), for_stranger=True
        )

    async def finish(self, attempt: str | None, query: Mapping[str, str]) -> SignIn:
        """Returns the sign-in of a browser that came back."""
        return await self.ask(lambda _: self.flow.finish(attempt, query, self.audience), for_stranger=True)

    def _wishes(self, client: Provider) -> dict[str, str]:
        scopes = self.settings.scopes
        offered = client.metadata(Deadline.after(_SECONDS)).scopes_supported or []
        if OFFLINE in offered and OFFLINE not in scopes:
            scopes = (*scopes, OFFLINE)
        wishes = {"scope": " ".join(scopes), **self.audience}
        return wishes | ({"prompt": "consent"} if OFFLINE in scopes else {})  # Core §11: without it, no such token
