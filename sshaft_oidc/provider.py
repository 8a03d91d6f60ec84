"""Speaks to one OpenID Provider as its client: discovery, the token endpoint, ID tokens, UserInfo.

`code_flow` and `device_grant` build on it.
"""

import base64
import hashlib
import hmac
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from joserfc.errors import JoseError
from pydantic import Field, ValidationError, model_validator

from sshaft.client_authentication import ClientCredentials
from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.http_client import Answer, HttpClient
from sshaft.validation import OptionalMember, first_fault
from sshaft_oidc.remote_keys import KEYS_LIFETIME, Document, OpenIdError, RemoteKeys, json_object, parse

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")
"""Signatures by a key that only the provider has. Never `none`; never HS256, whose verifier can sign as well."""
SIGN_IN_LIFETIME = timedelta(minutes=10)
"""The time between the two requests of one sign-in, at most."""
CLOCK_LEEWAY = timedelta(seconds=60)


class Metadata(Document):
    """The members of OpenID Connect Discovery 1.0 §3, RFC 8414 §2 and RFC 8628 §4 that this package uses."""

    issuer: str
    token_endpoint: Url
    jwks_uri: Url
    authorization_endpoint: OptionalMember[Url] = None
    device_authorization_endpoint: OptionalMember[Url] = None
    userinfo_endpoint: OptionalMember[Url] = None
    revocation_endpoint: OptionalMember[Url] = None
    code_challenge_methods_supported: OptionalMember[list[str]] = None
    token_endpoint_auth_methods_supported: OptionalMember[list[str]] = None
    authorization_response_iss_parameter_supported: OptionalMember[bool] = None

    @model_validator(mode="after")
    def _is_encrypted_throughout(self) -> "Metadata":
        """Refuses http below an https issuer: a provider must not make this program call its own loopback."""
        endpoints = [value for name, value in self if name.endswith(("_endpoint", "_uri"))]
        if self.issuer.startswith("https:") and not all(
            each is None or each.startswith("https:") for each in endpoints
        ):
            raise ValueError("the issuer uses https, and an endpoint does not")
        return self


class Tokens(Document):
    id_token: str
    access_token: OptionalMember[str] = Field(default=None, repr=False)


_Time = Annotated[int | float, Field(ge=0, lt=datetime.max.replace(tzinfo=UTC).timestamp())]
"""Seconds since 1970. The bounds keep out NaN, which no comparison would refuse."""


class Claims(Document):
    """The claims of an ID token (OpenID Connect Core 1.0 §2)."""

    iss: str
    sub: str = Field(min_length=1, max_length=255)
    aud: str | list[str]
    exp: _Time
    iat: _Time
    nonce: str = ""
    azp: str | None = None
    auth_time: OptionalMember[_Time] = None


class Provider:
    """One OpenID Provider, and this program as its client. Safe for several threads.

    Each method raises `OpenIdError` for an answer that proves nothing, and `RemoteServiceError` for a provider that
    gives no answer before the deadline.
    """

    def __init__(
        self, issuer: str, credentials: ClientCredentials, http: HttpClient, clock: Callable[[], datetime]
    ) -> None:
        self.issuer = issuer
        self.credentials = credentials
        self.http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: tuple[datetime, Metadata] | None = None
        self._keys = RemoteKeys(http, clock)

    def metadata(self, deadline: Deadline) -> Metadata:
        """Returns what the provider publishes about itself, at most an hour old."""
        with self._lock:
            now = self._clock()
            if self._cached is None or abs(now - self._cached[0]) >= KEYS_LIFETIME:
                url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
                metadata = parse(Metadata, self.http.send("GET", url, deadline), "the provider's metadata")
                if metadata.issuer != self.issuer:  # Discovery §4.3
                    raise OpenIdError("the provider's metadata names another issuer")
                self._cached = now, metadata
            return self._cached[1]

    def post(self, endpoint: str, form: dict[str, str], deadline: Deadline) -> Answer:
        """Sends a form with the proof of this client, to the token endpoint or another one that wants the same."""
        credentials, metadata = self.credentials, self.metadata(deadline)
        supported = metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]  # Discovery §3
        if credentials.method == "client_secret_basic" and credentials.method not in supported:
            credentials = replace(credentials, method="client_secret_post")
        request = credentials.token_request(form, metadata.token_endpoint, self._clock().timestamp())
        return self.http.send("POST", endpoint, deadline, **request)

    def revoke(self, token: str, deadline: Deadline) -> None:
        """Ends a token at the provider, if it offers that (RFC 7009 §2.1). The answer decides nothing."""
        endpoint = self.metadata(deadline).revocation_endpoint
        if endpoint is not None:
            self.post(endpoint, {"token": token, "token_type_hint": "access_token"}, deadline)

    def verify_id_token(self, token: str, deadline: Deadline, nonce: str = "") -> tuple[Claims, dict[str, Any]]:
        """Returns the claims of an ID token that is valid by §3.1.3.7: those of `Claims`, and all of them.

        `nonce` is that of the authentication request. A device login has none.
        """
        try:
            all_claims = self._keys.decode(token, self.metadata(deadline).jwks_uri, ALGORITHMS, deadline)
            claims = Claims.model_validate(all_claims)
        except JoseError as error:
            raise OpenIdError(f"the id_token is not good: {type(error).__name__}") from None
        except ValidationError as error:
            raise OpenIdError(f"the id_token is not good: {first_fault(error)}") from None
        now, client = self._clock(), self.credentials.client_id
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        faults = {
            "iss": claims.iss != self.issuer,
            "aud": client not in audience,
            "azp": claims.azp != client if claims.azp is not None else len(audience) > 1,
            "exp": now.timestamp() >= claims.exp,
            "iat": abs(now.timestamp() - claims.iat) > (SIGN_IN_LIFETIME + CLOCK_LEEWAY).total_seconds(),
            "nonce": not hmac.compare_digest(claims.nonce.encode(), nonce.encode()),
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            raise OpenIdError(f"the id_token is not good: {', '.join(wrong)}")
        return claims, all_claims

    def add_userinfo(
        self, wanted: Collection[str], all_claims: dict[str, Any], access_token: str | None, deadline: Deadline
    ) -> dict[str, Any]:
        """Returns the claims of an ID token, and those of `wanted` that only UserInfo has (§5.3.2: the same `sub`)."""
        endpoint = self.metadata(deadline).userinfo_endpoint
        missing = set(wanted) - set(all_claims)
        if not missing or not access_token or not endpoint:
            return all_claims
        headers = {"Authorization": f"Bearer {access_token}"}
        told = json_object(self.http.send("GET", endpoint, deadline, headers=headers), "the userinfo endpoint")
        if told.get("sub") != all_claims["sub"]:
            raise OpenIdError("the userinfo endpoint speaks of somebody else")
        return all_claims | {name: value for name, value in told.items() if name in missing}


def s256(text: str) -> str:
    """Returns the SHA-256 of a text in 43 characters: the code challenge of a PKCE verifier (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
