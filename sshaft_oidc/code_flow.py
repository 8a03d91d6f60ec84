"""Signs a person in at an OpenID Provider: the code flow with PKCE, as its client (OpenID Connect Core 1.0 §3.1).

The browser keeps one random value, the attempt, in a cookie. `state`, `nonce` and the PKCE verifier are made from it,
so an answer counts only in the browser that asked. The service keeps nothing between the two requests.
"""

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from joserfc.errors import JoseError
from pydantic import Field, ValidationError, model_validator

from sshaft.client_authentication import ClientCredentials
from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.http_client import HttpClient
from sshaft.validation import OptionalMember, first_fault
from sshaft_oidc.remote_keys import KEYS_LIFETIME, Document, OpenIdError, RemoteKeys, json_object, parse
from sshaft_oidc.settings import ProviderSettings

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")
"""Signatures by a key that only the provider has. Never `none`; never HS256, whose verifier can sign as well."""
SIGN_IN_LIFETIME = timedelta(minutes=10)
"""The time between the two requests of one sign-in, at most."""
_CLOCK_LEEWAY = timedelta(seconds=60)
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


class _Metadata(Document):
    """The members of OpenID Connect Discovery 1.0 §3 that this module uses."""

    issuer: str
    authorization_endpoint: Url
    token_endpoint: Url
    jwks_uri: Url
    userinfo_endpoint: OptionalMember[Url] = None
    token_endpoint_auth_methods_supported: OptionalMember[list[str]] = None
    authorization_response_iss_parameter_supported: OptionalMember[bool] = None

    @model_validator(mode="after")
    def _is_encrypted_throughout(self) -> "_Metadata":
        """Refuses http below an https issuer: a provider must not make this service call its own loopback."""
        endpoints = (self.authorization_endpoint, self.token_endpoint, self.jwks_uri, self.userinfo_endpoint)
        if self.issuer.startswith("https:") and not all(
            each is None or each.startswith("https:") for each in endpoints
        ):
            raise ValueError("the issuer uses https, and an endpoint does not")
        return self


class _Tokens(Document):
    id_token: str
    access_token: OptionalMember[str] = Field(default=None, repr=False)


_Time = Annotated[int | float, Field(ge=0, lt=datetime.max.replace(tzinfo=UTC).timestamp())]
"""Seconds since 1970. The bounds keep out NaN, which no comparison would refuse."""


class _Claims(Document):
    """The claims of an ID token (OpenID Connect Core 1.0 §2)."""

    iss: str
    sub: str = Field(min_length=1, max_length=255)
    aud: str | list[str]
    exp: _Time
    iat: _Time
    nonce: str
    azp: str | None = None
    auth_time: OptionalMember[_Time] = None


def new_attempt(now: datetime, *, again: bool = False) -> str:
    """Returns a new attempt, which the browser must keep in a cookie. `again`: the person must authenticate anew."""
    return f"{int(now.timestamp())}.{'again' if again else 'once'}.{secrets.token_urlsafe(32)}"


def derive(attempt: str, purpose: str) -> str:
    """Returns 43 characters that do not disclose the attempt, of the form of a PKCE verifier (RFC 7636 §4.1)."""
    return _base64url(hashlib.sha256(f"{purpose}\0{attempt}".encode()).digest())


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
        self._credentials = credentials
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: tuple[datetime, _Metadata] | None = None
        self._keys = RemoteKeys(http, clock)

    def authorization_url(self, attempt: str) -> str:
        """Returns the address to send the browser to (§3.1.2.1)."""
        request = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self.provider.scopes),
            "state": derive(attempt, "state"),
            "nonce": derive(attempt, "nonce"),
            "code_challenge": _base64url(hashlib.sha256(derive(attempt, "verifier").encode()).digest()),
            "code_challenge_method": "S256",
        }
        if _is_again(attempt):
            request["max_age"] = "0"
        endpoint = self._metadata(Deadline.after(_TIMEOUT)).authorization_endpoint
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
        metadata = self._metadata(deadline)
        self._check_issuer(query.get("iss"), metadata)
        if "error" in query:
            raise OpenIdError("the provider answered with an error", code="provider_refused")
        if not query.get("code"):
            raise OpenIdError("no code came back")
        tokens = self._tokens(query["code"], attempt, metadata, deadline)
        claims, all_claims = self._id_token(tokens.id_token, attempt, metadata, deadline)
        name = self._name(claims, all_claims, tokens, metadata, deadline)
        return Person(name, claims.iss, claims.sub, _authenticated_at(claims, attempt, now))

    def _check_issuer(self, iss: str | None, metadata: _Metadata) -> None:
        """Refuses the answer of another provider that an attacker mixed in (RFC 9207 §2.4)."""
        if iss is None and metadata.authorization_response_iss_parameter_supported:
            raise OpenIdError("the answer does not say which provider it is from", code="no_iss")
        if iss is not None and iss != self.provider.issuer:
            raise OpenIdError("the answer is from another provider", code="foreign_iss")

    def _tokens(self, code: str, attempt: str, metadata: _Metadata, deadline: Deadline) -> _Tokens:
        grant = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": derive(attempt, "verifier"),
        }
        credentials = self._credentials
        supported = metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]  # Discovery §3
        if credentials.method == "client_secret_basic" and credentials.method not in supported:
            credentials = replace(credentials, method="client_secret_post")
        request = credentials.token_request(grant, metadata.token_endpoint, self._clock().timestamp())
        answer = self._http.send("POST", metadata.token_endpoint, deadline, **request)
        return parse(_Tokens, answer, "the token endpoint")

    def _id_token(
        self, token: str, attempt: str, metadata: _Metadata, deadline: Deadline
    ) -> tuple[_Claims, dict[str, Any]]:
        """Returns the claims of an ID token that is valid by §3.1.3.7: those of `_Claims`, and all of them."""
        try:
            all_claims = self._keys.decode(token, metadata.jwks_uri, ALGORITHMS, deadline)
            claims = _Claims.model_validate(all_claims)
        except JoseError as error:
            raise OpenIdError(f"the id_token is not good: {type(error).__name__}") from None
        except ValidationError as error:
            raise OpenIdError(f"the id_token is not good: {first_fault(error)}") from None
        now, client = self._clock(), self.provider.client_id
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        faults = {
            "iss": claims.iss != self.provider.issuer,
            "aud": client not in audience,
            "azp": claims.azp != client if claims.azp is not None else len(audience) > 1,
            "exp": now.timestamp() >= claims.exp,
            "iat": abs(now.timestamp() - claims.iat) > (SIGN_IN_LIFETIME + _CLOCK_LEEWAY).total_seconds(),
            "nonce": not hmac.compare_digest(claims.nonce.encode(), derive(attempt, "nonce").encode()),
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            raise OpenIdError(f"the id_token is not good: {', '.join(wrong)}")
        return claims, all_claims

    def _name(
        self, claims: _Claims, all_claims: dict[str, Any], tokens: _Tokens, metadata: _Metadata, deadline: Deadline
    ) -> str:
        """Returns the claim that names the person, from the ID token or from UserInfo (§5.3.2: the same `sub`)."""
        claim = self.provider.user_claim
        if claim not in all_claims and tokens.access_token and metadata.userinfo_endpoint:
            headers = {"Authorization": f"Bearer {tokens.access_token}"}
            answer = self._http.send("GET", metadata.userinfo_endpoint, deadline, headers=headers)
            all_claims = json_object(answer, "the userinfo endpoint")
            if all_claims.get("sub") != claims.sub:
                raise OpenIdError("the userinfo endpoint speaks of somebody else")
        name = all_claims.get(claim)
        if not isinstance(name, str) or not name:
            raise OpenIdError(f"the provider does not say {claim}")
        return name

    def _metadata(self, deadline: Deadline) -> _Metadata:
        with self._lock:
            now = self._clock()
            if self._cached is None or abs(now - self._cached[0]) >= KEYS_LIFETIME:
                url = self.provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
                metadata = parse(_Metadata, self._http.send("GET", url, deadline), "the provider's metadata")
                if metadata.issuer != self.provider.issuer:  # Discovery §4.3
                    raise OpenIdError("the provider's metadata names another issuer")
                self._cached = now, metadata
            return self._cached[1]


def _is_again(attempt: str) -> bool:
    return attempt.split(".")[1:2] == ["again"]


def _is_young(attempt: str, now: datetime) -> bool:
    began = attempt.partition(".")[0]
    if not (began.isascii() and began.isdigit() and len(began) <= 12):
        return False
    return 0 <= now.timestamp() - int(began) <= SIGN_IN_LIFETIME.total_seconds()


def _authenticated_at(claims: _Claims, attempt: str, now: datetime) -> datetime | None:
    """Returns when the person authenticated at the provider, never later than now; None: the provider does not say.

    Raises `OpenIdError` if the attempt asked for a new authentication and the provider does not confirm it.
    """
    at = None if claims.auth_time is None else min(now, datetime.fromtimestamp(claims.auth_time, UTC))
    began = datetime.fromtimestamp(int(attempt.partition(".")[0]), UTC)
    if _is_again(attempt) and (at is None or at < began - _CLOCK_LEEWAY):
        raise OpenIdError("the provider did not ask the person to sign in anew", code="not_anew")
    return at


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
