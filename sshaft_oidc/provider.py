"""Speaks to one OpenID Provider as its client: discovery, the token endpoint, ID tokens, UserInfo.

`code_flow`, `device_grant` and `refresh_grant` build on it.
"""

import base64
import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from joserfc.errors import JoseError
from joserfc.jwt import Token
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.http_client import Answer, HttpClient
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft.validation import OptionalMember, first_fault
from sshaft_oidc.remote_keys import KEYS_LIFETIME, Document, OpenIdError, RemoteKeys, json_object, parse
from sshaft_oidc.settings import Endpoints

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")
"""Signatures by a key that only the provider has. Never `none`; never HS256, whose verifier can sign as well."""
SIGN_IN_LIFETIME = timedelta(minutes=10)
"""The time between the two requests of one sign-in, at most."""
CLOCK_LEEWAY = timedelta(seconds=60)


class Metadata(Document):
    """The members of OpenID Connect Discovery 1.0 §3, RFC 8414 §2 and RFC 8628 §4 that this package uses."""

    issuer: str
    token_endpoint: Url
    jwks_uri: OptionalMember[Url] = None
    authorization_endpoint: OptionalMember[Url] = None
    device_authorization_endpoint: OptionalMember[Url] = None
    userinfo_endpoint: OptionalMember[Url] = None
    introspection_endpoint: OptionalMember[Url] = None
    revocation_endpoint: OptionalMember[Url] = None
    code_challenge_methods_supported: OptionalMember[list[str]] = None
    scopes_supported: OptionalMember[list[str]] = None
    token_endpoint_auth_methods_supported: OptionalMember[list[str]] = None
    authorization_response_iss_parameter_supported: OptionalMember[bool] = None

    @model_validator(mode="after")
    def _is_usable(self) -> "Metadata":
        """Refuses http below an https issuer: a provider must not make this program call its own loopback."""
        if self.jwks_uri is None:
            raise ValueError("jwks_uri is missing, or is no https address")
        endpoints = [value for name, value in self if name.endswith(("_endpoint", "_uri"))]
        if self.issuer.startswith("https:") and not all(
            each is None or each.startswith("https:") for each in endpoints
        ):
            raise ValueError("the issuer uses https, and an endpoint does not")
        return self


def _scope(value: object) -> object:
    return value if isinstance(value, str) else ""


Scope = Annotated[str, BeforeValidator(_scope)]
"""Names of scopes with blanks between them (RFC 6749 §3.3). Something else counts as no scope."""


class Tokens(Document):
    """The answer of the token endpoint (RFC 6749 §5.1, OpenID Connect Core 1.0 §3.1.3.3)."""

    id_token: OptionalMember[str] = Field(default=None, repr=False)
    access_token: OptionalMember[str] = Field(default=None, repr=False)
    refresh_token: OptionalMember[str] = Field(default=None, repr=False)
    expires_in: OptionalMember[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = None
    """Seconds, of the access token."""
    scope: Scope = ""

    def granted(self, asked: Iterable[str]) -> frozenset[str]:
        """Returns the scopes of the access token: those that were asked for, unless the answer names others (§5.1)."""
        return frozenset(self.scope.split() if "scope" in self.model_fields_set else asked)


class _Error(Document):
    """An error answer of the token endpoint (RFC 6749 §5.2)."""

    error: str = Field(pattern=r"^[\x21\x23-\x5B\x5D-\x7E]{1,64}$")


def error_of(answer: Answer) -> str:
    """Returns the error code in an answer of the token endpoint. Raises `OpenIdError` if there is none."""
    try:
        return _Error.model_validate_json(answer.body).error
    except ValidationError:
        raise OpenIdError(f"the token endpoint answered {answer.status}") from None


class InvalidTokenError(OpenIdError):
    """The provider says that the access token is not good: 401 and `invalid_token` (RFC 6750 §3.1)."""


_INVALID_TOKEN = re.compile(r'\berror\s*=\s*"?invalid_token\b')


def _is_invalid_token(answer: Answer) -> bool:
    """Whether the answer says `invalid_token`, in its header (RFC 6750 §3), or in its body as at some providers."""
    if answer.status != 401:
        return False
    with suppress(ValidationError):
        if _Error.model_validate_json(answer.body).error == "invalid_token":
            return True
    return _INVALID_TOKEN.search(answer.headers.get("WWW-Authenticate", "")) is not None


NumericDate = Annotated[int | float, Field(ge=0, lt=datetime.max.replace(tzinfo=UTC).timestamp())]
"""Seconds since 1970 (RFC 7519 §2). The bounds keep out NaN, which no comparison would refuse."""


class Claims(Document):
    """The claims of an ID token (OpenID Connect Core 1.0 §2)."""

    iss: str
    sub: str = Field(min_length=1, max_length=255)
    aud: str | list[str]
    exp: NumericDate
    iat: NumericDate
    nonce: str = ""
    azp: str | None = None
    at_hash: str | None = None
    auth_time: OptionalMember[NumericDate] = None


class Provider:
    """One OpenID Provider, and this program as its client. Safe for several threads.

    Each method raises `OpenIdError` for an answer that proves nothing, and `RemoteServiceError` for a provider that
    gives no answer before the deadline.
    """

    def __init__(
        self, issuer: str, credentials: ClientCredentials, http: HttpClient, clock: Callable[[], datetime],
        endpoints: Endpoints = Endpoints(),  # noqa: B008 - frozen
        other_issuer: str | None = None,
    ) -> None:  # fmt: skip
        """`other_issuer` is a second value of `iss` for the same people."""
        self.issuer = issuer
        self._issuers = {issuer, other_issuer}
        self.credentials = credentials
        self.http = http
        self._endpoints = endpoints
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: tuple[datetime, Metadata] | None = None
        self._keys = RemoteKeys(http, clock)

    def metadata(self, deadline: Deadline) -> Metadata:
        """Returns what the provider publishes about itself, at most an hour old, with the configured endpoints."""
        configured = self._endpoints.model_dump(exclude_none=True)
        if self._endpoints.are_enough:
            # PKCE is asked for: a server that does not know it ignores its parameters (RFC 6749 §3.1, RFC 8628 §3.1).
            return Metadata.model_construct(issuer=self.issuer, code_challenge_methods_supported=["S256"], **configured)
        with self._lock:
            now = self._clock()
            if self._cached is None or abs(now - self._cached[0]) >= KEYS_LIFETIME:
                url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
                metadata = parse(Metadata, self.http.send("GET", url, deadline), "the provider's metadata")
                if metadata.issuer != self.issuer:  # Discovery §4.3
                    raise OpenIdError("the provider's metadata names another issuer")
                self._cached = now, metadata.model_copy(update=configured)
            return self._cached[1]

    def post(self, endpoint: str, form: dict[str, str], deadline: Deadline) -> Answer:
        """Sends a form with the proof of this client, to the token endpoint or another one that wants the same."""
        credentials, metadata = self.credentials, self.metadata(deadline)
        supported = metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]  # Discovery §3
        if credentials.method == "client_secret_basic" and credentials.method not in supported:
            credentials = replace(credentials, method="client_secret_post")
        request = credentials.token_request(form, metadata.token_endpoint, self.now())
        return self.http.send("POST", endpoint, deadline, **request)

    def revoke(self, tokens: Tokens, deadline: Deadline) -> None:
        """Ends the tokens at the provider, if it offers that (RFC 7009 §2.1). The answers decide nothing.

        Some providers give a refresh token that nobody has asked for. It comes first: it would outlive the other one.
        """
        endpoint = self.metadata(deadline).revocation_endpoint
        for kind, token in (("refresh_token", tokens.refresh_token), ("access_token", tokens.access_token)):
            if endpoint is not None and token is not None:
                self.post(endpoint, {"token": token, "token_type_hint": kind}, deadline)

    def verify_id_token(self, tokens: Tokens, deadline: Deadline, nonce: str = "") -> tuple[Claims, dict[str, Any]]:
        """Returns the claims of an ID token that is valid by §3.1.3.7: those of `Claims`, and all of them.

        `nonce` is that of the authentication request. A device login has none.
        """
        if tokens.id_token is None:
            raise OpenIdError("no id_token came back")
        try:
            token = self.decode(tokens.id_token, deadline)
            claims = Claims.model_validate(token.claims)
        except JoseError as error:
            raise OpenIdError(f"the id_token is not good: {type(error).__name__}") from None
        except ValidationError as error:
            raise OpenIdError(f"the id_token is not good: {first_fault(error)}") from None
        now, client = self.now(), self.credentials.client_id
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        faults = {
            "iss": claims.iss not in self._issuers,
            "aud": client not in audience,
            "azp": claims.azp != client if claims.azp is not None else len(audience) > 1,
            "exp": now >= claims.exp,
            "iat": abs(now - claims.iat) > (SIGN_IN_LIFETIME + CLOCK_LEEWAY).total_seconds(),
            "at_hash": claims.at_hash is not None and not _is_hash_of(claims.at_hash, token.header["alg"], tokens),
            "nonce": not hmac.compare_digest(claims.nonce.encode(), nonce.encode()),
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            raise OpenIdError(f"the id_token is not good: {', '.join(wrong)}")
        return claims, token.claims

    def decode(self, token: str, deadline: Deadline) -> Token:
        """Returns a JWT that this provider has signed. Raises `JoseError` for another one. No claim is checked."""
        jwks_uri = self.metadata(deadline).jwks_uri
        if jwks_uri is None:
            raise OpenIdError("the provider's metadata names no jwks_uri")
        return self._keys.decode(token, jwks_uri, ALGORITHMS, deadline)

    def now(self) -> float:
        """Returns the time that tokens are compared with, in seconds since 1970."""
        return self._clock().timestamp()

    def introspect(self, access_token: str | None, deadline: Deadline) -> dict[str, Any]:
        """Returns what the introspection endpoint says of an access token (RFC 7662 §2). Nothing in it is checked."""
        endpoint = self.metadata(deadline).introspection_endpoint
        if endpoint is None or access_token is None:
            raise OpenIdError("no access_token came back" if endpoint else "the provider has no introspection_endpoint")
        form = {"token": access_token, "token_type_hint": "access_token"}
        return json_object(self.post(endpoint, form, deadline), "the introspection endpoint")

    def userinfo(self, access_token: str | None, deadline: Deadline) -> dict[str, Any]:
        """Returns what the userinfo endpoint says of the person of an access token (§5.3).

        Raises `InvalidTokenError` if the endpoint says that the token is not good.
        """
        endpoint = self.metadata(deadline).userinfo_endpoint
        if endpoint is None or access_token is None:
            raise OpenIdError("no access_token came back" if endpoint else "the provider has no userinfo_endpoint")
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = self.http.send("GET", endpoint, deadline, headers=headers)
        if _is_invalid_token(answer):
            raise InvalidTokenError("the userinfo endpoint says invalid_token")
        return json_object(answer, "the userinfo endpoint")

    def add_userinfo(
        self, wanted: Collection[str], all_claims: dict[str, Any], access_token: str | None, deadline: Deadline
    ) -> dict[str, Any]:
        """Returns the claims of a token, and those of `wanted` that only UserInfo has (§5.3.2: the same `sub`)."""
        missing = set(wanted) - set(all_claims)
        if not missing or not access_token or not self.metadata(deadline).userinfo_endpoint:
            return all_claims
        told = self.userinfo(access_token, deadline)
        if told.get("sub") != all_claims["sub"]:
            raise OpenIdError("the userinfo endpoint speaks of somebody else")
        return all_claims | {name: value for name, value in told.items() if name in missing}


def _is_hash_of(at_hash: str, algorithm: str, tokens: Tokens) -> bool:
    """Whether `at_hash` is that of the access token (§3.1.3.6): half of its hash, by the algorithm of the ID token."""
    if tokens.access_token is None:
        return True  # there is nothing that could be used
    name = "sha256" if algorithm.endswith("256") else "sha384" if algorithm.endswith("384") else "sha512"
    digest = hashlib.new(name, tokens.access_token.encode()).digest()
    expected = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    return hmac.compare_digest(at_hash.encode(), expected)


def s256(text: str) -> str:
    """Returns the SHA-256 of a text in 43 characters: the code challenge of a PKCE verifier (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
