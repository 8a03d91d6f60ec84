"""Says which provider's rules decide, for an operator who tries them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sshaft_agent.host_login.approval.realm import ApprovalRealm
from sshaft_agent.host_login.realm import Decider, Realm
from sshaft_agent.host_login.token_login.realms import TokenRealms
from sshaft_oidc import access_tokens
from sshaft_oidc.access_tokens import AccessTokenError


@dataclass(frozen=True)
class Deciders:
    """The provider of the device login, our identity service, and those whose access tokens are taken.

    At least one is there.
    """

    browser: Realm | None
    approval: ApprovalRealm | None
    tokens: TokenRealms

    def any(self) -> Decider:
        """Returns one of them. The rules of the host are the same at each."""
        return self.browser or self.approval or self.tokens.all[0]

    def of_token(self, token: str) -> Decider:
        """Returns the one that a token is for: an ID token is of the browser. Raises `AccessTokenError`."""
        if self.browser is None:
            return self.tokens.of(token)
        takes_id_tokens = self.browser.settings.identity_from == "id_token"
        try:
            is_access_token = access_tokens.shape_of(token).is_access_token
            return self.tokens.of(token) if is_access_token or not takes_id_tokens else self.browser
        except AccessTokenError:
            return self.browser

    def of_claims(self, claims: Mapping[str, Any]) -> Decider:
        """Returns the one that the claim `iss` names, or else any."""
        issuer = claims.get("iss")
        on_pages = (each for each in (self.browser, self.approval) if each and each.settings.issuer == issuer)
        return next(on_pages, None) or self.tokens.of_issuer(issuer) or self.any()
