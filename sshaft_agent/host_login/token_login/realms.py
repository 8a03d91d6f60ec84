"""The providers whose access tokens open accounts, each with its own rules."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sshaft.addresses import source_of
from sshaft.deadline import Deadline
from sshaft.text import printable
from sshaft_agent.host_login import accounts
from sshaft_agent.host_login.realm import REQUEST_SECONDS, Decider
from sshaft_agent.host_login.token_login.failures import Failures
from sshaft_agent.host_login.token_login.known import KnownTokens
from sshaft_agent.host_login.token_login.settings import TokenProvider
from sshaft_oidc import access_tokens
from sshaft_oidc.access_tokens import AccessToken, AccessTokenError, Verification
from sshaft_oidc.identity import Identity
from sshaft_oidc.provider import Provider


class TokenRealm(Decider):
    """One provider. It blocks while it verifies a token."""

    settings: TokenProvider

    def __init__(self, settings: TokenProvider, clock: Callable[[], datetime]) -> None:
        """Raises `ConfigurationError` if a file of the settings cannot be used."""
        super().__init__(settings, clock)
        provider = Provider(
            settings.issuer, settings.credentials(), settings.http_client("provider"), clock, settings.endpoints
        )
        self._verification = Verification(provider, settings.audience, accounts.wanted(settings))

    def verify(self, token: str) -> AccessToken:
        """Returns whose token it is. Raises the errors of `Verification`."""
        verification, deadline = self._verification, Deadline.after(REQUEST_SECONDS)
        if self.settings.form == "introspection":
            return verification.from_introspection(token, deadline)
        if self.settings.form == "userinfo":
            return verification.from_userinfo(token, deadline)
        return verification.from_jwt(token, deadline)

    def identify_by(self, token: str) -> Identity:
        return self.verify(token).identity


class TokenRealms:
    """All of them. Safe for several threads. `monotonic` is in seconds."""

    def __init__(
        self,
        providers: Sequence[TokenProvider],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `ConfigurationError` if a file of the settings cannot be used."""
        self.all = tuple(TokenRealm(each, clock) for each in providers)
        self._by_issuer = {each.settings.issuer: each for each in self.all}
        self._opaque = next((each for each in self.all if each.settings.takes_opaque), None)
        self._failures = Failures(monotonic)
        self._known = KnownTokens(lambda: clock().timestamp(), monotonic)

    def known(self, token: str) -> tuple[TokenRealm, Identity] | None:
        """Returns whose token it is if it was good less than a minute ago. It does not block."""
        found = self._known.get(token)
        return None if found is None else (self._by_issuer[found.identity.issuer], found.identity)

    def identify(self, token: str, client_ip: str) -> tuple[TokenRealm, Identity]:
        """Returns whose token it is, and whose rules decide. It blocks. Raises the errors of `Verification`.

        A token that was good less than a minute ago is not verified again. The provider is not asked for strangers at
        `client_ip` without end.
        """
        if (known := self.known(token)) is not None:
            return known
        realm = self.of(token)
        found = realm.verify(token) if realm.settings.form == "jwt" else self._asked(realm, token, client_ip)
        self._known.put(token, found)
        return realm, found.identity

    def _asked(self, realm: TokenRealm, token: str, client_ip: str) -> AccessToken:
        """Returns what the provider says of a token."""
        source = source_of(client_ip)
        if self._failures.are_too_many(source):
            raise AccessTokenError("busy", f"too many wrong tokens have come in this minute: {printable(source)}")
        try:
            return realm.verify(token)
        except AccessTokenError:
            self._failures.add(source)
            raise

    def of_issuer(self, issuer: object) -> TokenRealm | None:
        return self._by_issuer.get(issuer) if isinstance(issuer, str) else None

    def of(self, token: str) -> TokenRealm:
        """Returns the provider that a token may be shown to. Raises `AccessTokenError` if there is none.

        A JWT goes to the provider that it names, if that one is configured. A token that names nobody goes to the one
        provider that can be asked.
        """
        shape = access_tokens.shape_of(token)
        found = self._by_issuer.get(shape.issuer) if shape.is_jwt else self._opaque
        if found is None:
            raise AccessTokenError("issuer" if shape.is_jwt else "unknown", "no provider of this token is configured")
        access_tokens.check_unbound(shape.claims.get("cnf"))
        return found
