"""Signs a person in at an OpenID Provider: the code flow with PKCE, as its client (OpenID Connect Core 1.0 §3.1).

The browser keeps one random value, the attempt, in a cookie. `state`, `nonce` and the PKCE verifier are made from it,
so an answer counts only in the browser that asked. The service keeps nothing between the two requests.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from sshaft.client_authentication import ClientCredentials
from sshaft.deadline import Deadline
from sshaft.http_client import HttpClient
from sshaft_oidc.provider import CLOCK_LEEWAY, SIGN_IN_LIFETIME, Claims, Metadata, Provider, Tokens, s256
from sshaft_oidc.remote_keys import OpenIdError, parse
from sshaft_oidc.settings import ProviderSettings

_TIMEOUT = 10.0
"""Seconds for all requests to the provider in one call."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person who has signed in. `name` is the value of the configured claim, and not yet a user of this service.

    `authenticated_at` is when the person proved themselves to the provider; None: the provider does not say.
    """

    name: str
    issuer: str
    subject: str
    authenticated_at: datetime | None


def new_attempt(now: datetime, *, again: bool = False) -> str:
    """Returns a new attempt, which the browser must keep in a cookie. `again`: the person must authenticate anew."""
    return f"{int(now.timestamp())}.{'again' if again else 'once'}.{secrets.token_urlsafe(32)}"


def derive(attempt: str, purpose: str) -> str:
    """Returns 43 characters that do not disclose the attempt, of the form of a PKCE verifier (RFC 7636 §4.1)."""
    return s256(f"{purpose}\0{attempt}")


class RelyingParty:
    """One client of one OpenID Provider. Safe for several threads; the methods block for `_TIMEOUT` at most.

    Each method raises `OpenIdError` for an answer that proves nothing, and `RemoteServiceError` for a provider that
    gives no answer.
    """

    def __init__(
        self, provider: ProviderSettings, redirect_uri: str, credentials: ClientCredentials, http: HttpClient,
        clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self.provider = provider
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._provider = Provider(provider.issuer, credentials, http, clock)

    def authorization_url(self, attempt: str) -> str:
        """Returns the address to send the browser to (§3.1.2.1)."""
        request = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self.provider.scopes),
            "state": derive(attempt, "state"),
            "nonce": derive(attempt, "nonce"),
            "code_challenge": s256(derive(attempt, "verifier")),
            "code_challenge_method": "S256",
        }
        if _is_again(attempt):
            request["max_age"] = "0"
        endpoint = self._provider.metadata(Deadline.after(_TIMEOUT)).authorization_endpoint
        if endpoint is None:
            raise OpenIdError("the provider's metadata: authorization_endpoint is missing, or is no https address")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(request)}"

    def identify(self, attempt: str | None, query: dict[str, str]) -> Person:
        """Returns the person whose browser came back to the redirect URI with `attempt` in its cookie.

        `query` holds the parameters of the authorization response (§3.1.2.5, §3.1.2.6).
        """
        now = self._clock()
        if attempt is None or not _is_young(attempt, now):
            raise OpenIdError("this browser has not begun a sign-in, or too long ago", code="no_attempt")
        if not hmac.compare_digest(query.get("state", "").encode(), derive(attempt, "state").encode()):
            raise OpenIdError("state is not that of this browser", code="foreign_state")
        deadline = Deadline.after(_TIMEOUT)
        metadata = self._provider.metadata(deadline)
        self._check_issuer(query.get("iss"), metadata)
        if "error" in query:
            raise OpenIdError("the provider answered with an error", code="provider_refused")
        if not query.get("code"):
            raise OpenIdError("no code came back")
        tokens = self._tokens(query["code"], attempt, metadata.token_endpoint, deadline)
        claims, all_claims = self._provider.verify_id_token(tokens.id_token, deadline, derive(attempt, "nonce"))
        claim = self.provider.user_claim
        name = self._provider.add_userinfo({claim}, all_claims, tokens.access_token, deadline).get(claim)
        if not isinstance(name, str) or not name:
            raise OpenIdError(f"the provider does not say {claim}")
        return Person(name, claims.iss, claims.sub, _authenticated_at(claims, attempt, now))

    def _check_issuer(self, iss: str | None, metadata: Metadata) -> None:
        """Refuses the answer of another provider that an attacker mixed in (RFC 9207 §2.4)."""
        if iss is None and metadata.authorization_response_iss_parameter_supported:
            raise OpenIdError("the answer does not say which provider it is from", code="no_iss")
        if iss is not None and iss != self.provider.issuer:
            raise OpenIdError("the answer is from another provider", code="foreign_iss")

    def _tokens(self, code: str, attempt: str, endpoint: str, deadline: Deadline) -> Tokens:
        grant = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": derive(attempt, "verifier"),
        }
        return parse(Tokens, self._provider.post(endpoint, grant, deadline), "the token endpoint")


def _is_again(attempt: str) -> bool:
    return attempt.split(".")[1:2] == ["again"]


def _is_young(attempt: str, now: datetime) -> bool:
    began = attempt.partition(".")[0]
    if not (began.isascii() and began.isdigit() and len(began) <= 12):
        return False
    return 0 <= now.timestamp() - int(began) <= SIGN_IN_LIFETIME.total_seconds()


def _authenticated_at(claims: Claims, attempt: str, now: datetime) -> datetime | None:
    """Returns when the person authenticated at the provider, never later than now; None: the provider does not say.

    Raises `OpenIdError` if the attempt asked for a new authentication and the provider does not confirm it.
    """
    at = None if claims.auth_time is None else min(now, datetime.fromtimestamp(claims.auth_time, UTC))
    began = datetime.fromtimestamp(int(attempt.partition(".")[0]), UTC)
    if _is_again(attempt) and (at is None or at < began - CLOCK_LEEWAY):
        raise OpenIdError("the provider did not ask the person to sign in anew", code="not_anew")
    return at
