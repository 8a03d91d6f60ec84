"""Signs a person in at an OpenID Provider: the code flow with PKCE, as its client (OpenID Connect Core 1.0 §3.1).

The browser keeps one random value, the attempt, in a cookie. `state`, `nonce` and the PKCE verifier are made from it,
so an answer counts only in the browser that asked. The service keeps nothing between the two requests.

A program on a person's computer has no such cookie. It calls the functions for the single requests.
"""

import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from sshaft.deadline import Deadline
from sshaft.http_client import Answer, HttpClient
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft_oidc.provider import CLOCK_LEEWAY, SIGN_IN_LIFETIME, Claims, Provider, Tokens, s256
from sshaft_oidc.remote_keys import OpenIdError, parse
from sshaft_oidc.settings import ProviderSettings

_TIMEOUT = 10.0
"""Seconds for all requests to the provider in one step of a sign-in."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """What the provider has given for one sign-in. `claims` of the ID token are checked, `all_claims` are not.

    `authenticated_at` is when the person proved themselves to the provider; None: the provider does not say.
    """

    tokens: Tokens
    claims: Claims
    all_claims: Mapping[str, Any]
    authenticated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Person:
    """A person who has signed in. `name` is the value of the configured claim, and not yet a user of this service.

    `authenticated_at` is when the person proved themselves to the provider; None: the provider does not say.
    `groups` are the values of the configured claim. `amr` and `acr` are the claims of these names in the ID token.
    """

    name: str
    issuer: str
    subject: str
    authenticated_at: datetime | None
    groups: frozenset[str] = frozenset()
    amr: tuple[str, ...] = ()
    acr: str | None = None


def new_attempt(now: datetime, *, again: bool = False) -> str:
    """Returns a new attempt, which the browser must keep in a cookie. `again`: the person must authenticate anew."""
    return f"{int(now.timestamp())}.{'again' if again else 'once'}.{secrets.token_urlsafe(32)}"


def derive(attempt: str, purpose: str) -> str:
    """Returns 43 characters that do not disclose the attempt, of the form of a PKCE verifier (RFC 7636 §4.1)."""
    return s256(f"{purpose}\0{attempt}")


def request_url(provider: Provider, request: Mapping[str, str], verifier: str, deadline: Deadline) -> str:
    """Returns the address of an authorization request (§3.1.2.1), with the challenge of the PKCE verifier.

    `request` holds the other parameters, such as `scope` and `state`.
    """
    endpoint = provider.metadata(deadline).authorization_endpoint
    if endpoint is None:
        raise OpenIdError("the provider's metadata: authorization_endpoint is missing, or is no https address")
    parameters = {
        **request,
        "response_type": "code",
        "client_id": provider.credentials.client_id,
        "code_challenge": s256(verifier),
        "code_challenge_method": "S256",
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def check_issuer(provider: Provider, iss: str | None, deadline: Deadline) -> None:
    """Refuses the answer of another provider that an attacker mixed in (RFC 9207 §2.4)."""
    if iss is None and provider.metadata(deadline).authorization_response_iss_parameter_supported:
        raise OpenIdError("the answer does not say which provider it is from", code="no_iss")
    if iss is not None and iss != provider.issuer:
        raise OpenIdError("the answer is from another provider", code="foreign_iss")


def ask_for_tokens(
    provider: Provider, code: str, redirect_uri: str, verifier: str, deadline: Deadline,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Answer:  # fmt: skip
    """Returns the answer of the token endpoint to a code (§3.1.3.1). Its status may be that of a refusal.

    `more` are further parameters, such as `resource` (RFC 8707 §2.2).
    """
    grant = {
        **more,
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    return provider.post(provider.metadata(deadline).token_endpoint, grant, deadline)


class CodeFlow:
    """The sign-ins of one client at one OpenID Provider. Safe for several threads; the methods block for `_TIMEOUT`.

    Each method raises `OpenIdError` for an answer that proves nothing, and `RemoteServiceError` for a provider that
    gives no answer.
    """

    def __init__(self, client: Provider, scopes: Iterable[str], redirect_uri: str) -> None:
        self.client = client
        self._scopes = tuple(scopes)
        self._redirect_uri = redirect_uri

    def authorization_url(self, attempt: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
        """Returns the address to send the browser to (§3.1.2.1). `more` are further parameters, or other scopes."""
        request = {
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._scopes),
            "state": derive(attempt, "state"),
            "nonce": derive(attempt, "nonce"),
            **more,
        }
        if _is_again(attempt):
            request["max_age"] = "0"
        return request_url(self.client, request, derive(attempt, "verifier"), Deadline.after(_TIMEOUT))

    def finish(
        self, attempt: str | None, query: Mapping[str, str], more: Mapping[str, str] = MappingProxyType({})
    ) -> SignIn:
        """Returns the sign-in of the browser that came back to the redirect URI with `attempt` in its cookie.

        `query` holds the parameters of the authorization response (§3.1.2.5, §3.1.2.6), and `more` further parameters
        of the token request.
        """
        now = datetime.fromtimestamp(self.client.now(), UTC)
        if attempt is None or not _is_young(attempt, now):
            raise OpenIdError("this browser has not begun a sign-in, or too long ago", code="no_attempt")
        if not hmac.compare_digest(query.get("state", "").encode(), derive(attempt, "state").encode()):
            raise OpenIdError("state is not that of this browser", code="foreign_state")
        deadline = Deadline.after(_TIMEOUT)
        check_issuer(self.client, query.get("iss"), deadline)
        if "error" in query:
            raise OpenIdError("the provider answered with an error", code="provider_refused")
        if not query.get("code"):
            raise OpenIdError("no code came back")
        verifier = derive(attempt, "verifier")
        answer = ask_for_tokens(self.client, query["code"], self._redirect_uri, verifier, deadline, more)
        tokens = parse(Tokens, answer, "the token endpoint")
        claims, all_claims = self.client.verify_id_token(tokens, deadline, derive(attempt, "nonce"))
        return SignIn(tokens, claims, all_claims, _authenticated_at(claims, attempt, now))


class RelyingParty(CodeFlow):
    """The client of the provider at which people sign in with the name of a claim."""

    def __init__(
        self, provider: ProviderSettings, redirect_uri: str, credentials: ClientCredentials, http: HttpClient,
        clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        super().__init__(Provider(provider.issuer, credentials, http, clock), provider.scopes, redirect_uri)
        self.provider = provider

    def identify(self, attempt: str | None, query: Mapping[str, str]) -> Person:
        """Returns the person whose browser came back, as `finish` does."""
        done = self.finish(attempt, query)
        claim, token, deadline = self.provider.user_claim, done.tokens.access_token, Deadline.after(_TIMEOUT)
        wanted = {each for each in (claim, self.provider.groups_claim) if each is not None}
        claims = self.client.add_userinfo(wanted, dict(done.all_claims), token, deadline)
        name = claims.get(claim)
        if not isinstance(name, str) or not name:
            raise OpenIdError(f"the provider does not say {claim}")
        groups = _texts(claims.get(self.provider.groups_claim or ""))
        amr = sorted(each for each in _texts(done.all_claims.get("amr")) if each.split() == [each])
        acr = next(iter(_texts([done.all_claims.get("acr")])), None)
        return Person(name, done.claims.iss, done.claims.sub, done.authenticated_at, groups, tuple(amr), acr)


def _texts(value: object) -> frozenset[str]:
    """Returns the texts of a claim. A value that is no text and no array of texts holds none."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        return frozenset()
    return frozenset(values)


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
