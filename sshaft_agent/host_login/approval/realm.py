"""Decides by the rules of `approval` who may use which account, after an approval at our identity service."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sshaft.errors import IdentityServiceError
from sshaft.text import printable
from sshaft_agent.host_login.approval.service import ApprovalService, Verified
from sshaft_agent.host_login.approval.settings import ApprovalSettings
from sshaft_agent.host_login.bindings import Binding
from sshaft_agent.host_login.realm import Decider, RefusedError
from sshaft_oidc.identity import Identity
from sshaft_oidc.remote_keys import OpenIdError


class ApprovalRealm(Decider):
    """Our identity service, and the rules of this host for the people there."""

    settings: ApprovalSettings

    def __init__(
        self, settings: ApprovalSettings, providers: Collection[str] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        """`providers` are the issuers whose people the host lets in by other methods.

        Raises `ConfigurationError` if a file of the settings cannot be used.
        """
        super().__init__(settings, clock)
        self._providers = frozenset(providers)
        self.service = ApprovalService(settings)

    @property
    def origin(self) -> tuple[str, ...]:
        """Returns texts that change if approvals come from another service, or speak of other identities."""
        settings = self.settings
        providers = sorted(self._providers) if settings.identity == "linked" else ()
        return (settings.issuer, settings.client_id, settings.identity, *providers)

    def identify_by(self, _token: str) -> Identity:
        raise OpenIdError("people approve their logins on a page, so there is no token to try: use claims")

    def identity_of(self, verified: Verified) -> Identity:
        """Returns who has approved. Raises `IdentityServiceError` for another service than that of the settings.

        Accounts are bound to the name of the service. Another name would let another service speak for its people.
        Raises `RefusedError` if accounts belong to the people of a provider, and the user has no account there.
        """
        if verified.iss != self.settings.issuer:
            name = printable(verified.iss)
            raise IdentityServiceError(f"{self.settings.issuer}: the service calls itself {name}: check approval.url")
        issuer, subject = verified.iss, verified.sub
        if self.settings.identity == "linked":
            if verified.linked is None or verified.linked.iss not in self._providers:
                reason = "no account at a provider of this host is linked to the user of the identity service"
                raise RefusedError(reason, subject=subject)
            issuer, subject = verified.linked.iss, verified.linked.sub
        claims: dict[str, Any] = {"iss": issuer, "sub": subject, "preferred_username": verified.user}
        more = {"amr": verified.amr, "acr": verified.acr}
        claims |= {name: value for name, value in more.items() if value is not None}
        return Identity(issuer, subject, claims, frozenset())

    def owner(self, bound: Sequence[Binding]) -> str | None:
        """Returns the only person at this service to whom the account belongs. None: nobody yet, or several."""
        subjects = [each.subject for each in bound if each.issuer == self.settings.issuer]
        return subjects[0] if len(subjects) == 1 else None
