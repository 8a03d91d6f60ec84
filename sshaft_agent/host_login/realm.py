"""One configuration of host login in use: its provider, and its rules that turn an approval into an identity."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime

from sshaft import log
from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft_agent.host_login import accounts, texts
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.bindings import Bindings, is_bound_to, is_free
from sshaft_agent.host_login.rules import ProviderRules
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_oidc import refresh_grant
from sshaft_oidc.device_grant import DeviceGrant
from sshaft_oidc.identity import Identification, Identity
from sshaft_oidc.provider import Provider, Tokens
from sshaft_oidc.remote_keys import OpenIdError

REQUEST_SECONDS = 10.0
"""For the requests to the provider of one step."""


class RefusedError(Exception):
    """The login ends without success. The reason and the subject are for the log; the person reads one of `texts`."""

    def __init__(self, reason: str, text: str = texts.REFUSED, *, subject: str | None = None) -> None:
        super().__init__(reason)
        self.text = text
        self.subject = subject


class AwayError(Exception):
    """A method cannot begin a login, because its service cannot be reached. The next one may follow."""

    def __init__(self, cause: RemoteServiceError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Decider(ABC):
    """Decides by the rules of one provider who may use which account. Safe for several threads.

    `clock` gives the time that tokens are compared with.
    """

    def __init__(self, settings: ProviderRules, clock: Callable[[], datetime]) -> None:
        self.settings = settings
        self._clock = clock

    @abstractmethod
    def identify_by(self, token: str) -> Identity:
        """Returns whose token it is, for an operator who tries the rules. It blocks."""

    def allow(self, account: Account | None, identity: Identity) -> None:
        """Raises `RefusedError` if the rules do not give this account to the identity."""
        _allow(account, self.settings, identity)

    def decide(
        self,
        account: Account | None,
        identity: Identity,
        bindings: Bindings,
        prepare: Callable[[Account, Identity], None],
        closed: Callable[[str], str | None],
    ) -> None:
        """Gives the account to the identity, or raises `RefusedError`. It asks only this host.

        `closed` returns why nobody may log in to an account. Only its owner reads that it is closed.

        `prepare` makes an account that the host does not have yet. It is called for an identity that may have it.
        It comes after the approval, also for a name that nobody has: a stranger must not learn which accounts exist.
        """
        self.allow(account, identity)
        assert account is not None  # noqa: S101 - the first check
        person = accounts.person(self.settings, identity.claims)
        bound = bindings.of(account.name)
        is_owner = is_bound_to(bound, identity.issuer, identity.subject)
        may_bind = is_owner or is_free(bound, person)
        if may_bind and (reason := closed(account.name)):
            raise RefusedError(reason, texts.CLOSED if is_owner else texts.REFUSED, subject=identity.subject)
        if may_bind:
            prepare(account, identity)
        if not may_bind or not bindings.bind(account.name, identity.issuer, identity.subject, self._clock(), person):
            raise RefusedError("the account belongs to another identity", subject=identity.subject)


class Realm(Decider):
    """The login with a browser at one provider."""

    settings: HostLoginSettings

    def __init__(self, settings: HostLoginSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Raises `ConfigurationError` if a file of the settings cannot be used."""
        super().__init__(settings, clock)
        self._provider = Provider(
            settings.issuer, settings.credentials(), settings.http_client("provider"), clock, settings.endpoints,
            settings.entra.other_issuer if settings.entra else None,
        )  # fmt: skip
        self._identification = Identification(
            self._provider, settings.scopes, accounts.wanted(settings), settings.subject_claims,
            sorted(accounts.deciding_groups(settings)),
        )  # fmt: skip
        self.grant = DeviceGrant(self._provider, settings.asked_scopes)

    def identify(self, tokens: Tokens) -> Identity:
        """Returns who has approved, by `identity_from`. It blocks. The tokens are for the caller to `revoke`."""
        settings, identification, deadline = self.settings, self._identification, Deadline.after(REQUEST_SECONDS)
        if settings.identity_from == "introspection":
            return identification.from_introspection(tokens, deadline)
        if settings.identity_from == "userinfo":
            return identification.from_userinfo(tokens, deadline)
        return identification.from_id_token(tokens, settings.tenant, deadline)

    def redeem(self, refresh_token: str) -> Tokens:
        """Returns new tokens of a person who approved before. It blocks. Raises the errors of `refresh_grant`."""
        return refresh_grant.redeem(self._provider, refresh_token, Deadline.after(REQUEST_SECONDS))

    def identify_again(self, tokens: Tokens) -> Identity:
        """Returns whose tokens of `redeem` these are. It blocks.

        The provider may give no new ID token (OpenID Connect Core 1.0 §12.2). Then UserInfo says who it is.
        """
        if self.settings.identity_from == "id_token" and tokens.id_token is None:
            return self._identification.from_userinfo(tokens, Deadline.after(REQUEST_SECONDS))
        return self.identify(tokens)

    def identify_by(self, token: str) -> Identity:
        """Returns whose ID token it is, or else whose access token."""
        is_id_token = self.settings.identity_from == "id_token"
        return self.identify(Tokens(id_token=token) if is_id_token else Tokens(access_token=token))

    def allow_again(self, account: Account, identity: Identity) -> None:
        """Raises `RefusedError` if a person who has logged in before could not do so now.

        `acr` and `amr` speak of the login. They need not be in a later ID token (OpenID Connect Core 1.0 §12.2).
        """
        missing = {name: None for name in ("acr", "amr") if identity.claims.get(name) is None}
        allow = self.settings.allow.model_copy(update=missing)
        _allow(account, self.settings.model_copy(update={"allow": allow}), identity)

    def revoke(self, tokens: Tokens) -> None:
        """Ends the tokens at the provider. A failure is logged; the tokens end by themselves in time. It blocks."""
        try:
            self.end(tokens)
        except (RemoteServiceError, OpenIdError) as error:
            log.get_logger().warning("host_login.token_not_revoked", message=str(error))

    def end(self, tokens: Tokens) -> None:
        """Ends the tokens at the provider, if it offers that. It blocks. Raises `OpenIdError`, `RemoteServiceError`."""
        self._provider.revoke(tokens, Deadline.after(REQUEST_SECONDS))


def _allow(account: Account | None, settings: ProviderRules, identity: Identity) -> None:
    for check in accounts.checks(account, settings, identity.claims, identity.scopes):
        if not check.passed:
            raise RefusedError(f"{check.rule}: {check.detail}", subject=identity.subject)
