"""Verifies an access token that somebody has brought: whose it is, and whether this host may take it.

Nothing in a token counts before its issuer is one that is configured. So no address in a token is ever asked, and no
provider sees a token of another one.
"""

import base64
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwt import Token
from pydantic import BeforeValidator, Field, ValidationError

from sshaft.config import without_repetition
from sshaft.deadline import Deadline
from sshaft.validation import first_fault
from sshaft_oidc.identity import Identity, subject_of
from sshaft_oidc.provider import CLOCK_LEEWAY, NumericDate, Provider
from sshaft_oidc.remote_keys import Document, OpenIdError

LONGEST = 12 * 1024
"""Characters of a token."""
_SHORTEST_OPAQUE = 20
"""Characters. Shorter ones would be easy to guess (RFC 6749 §10.10). A password that somebody types goes nowhere."""
SSH_CUTS_AT = 1023
"""ssh of OpenSSH sends so many bytes of an answer, and drops the rest."""
_SIGNATURES = {64, 96, 128, 256, 384, 512, 1024}
"""Bytes, of the usual keys."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""b64token of RFC 6750 §2.1."""
_TYPES = ("at+jwt", "application/at+jwt")
"""RFC 9068 §4. An ID token has another type, or none."""
_BEARER = {"bearer", "access_token", "access", "at+jwt"}
"""How providers call an access token that is not bound to a key, and no refresh token or ID token."""


class AccessTokenError(OpenIdError):
    """The token opens nothing. `fault` is a short code, such as `malformed`, `issuer`, `signature` or `expired`."""

    def __init__(self, fault: str, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True)
class AccessToken:
    """What is known of a good token. `expires_at` is in seconds since 1970. None: nobody has said when it ends."""

    identity: Identity
    expires_at: float | None


@dataclass(frozen=True)
class Shape:
    """What can be seen in a token without a key. `claims` are those of a JWT, which nobody has verified."""

    is_jwt: bool
    is_access_token: bool = True
    """Whether the type is that of RFC 9068. An opaque token may be one."""
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        """Returns the provider that the token names. Empty: it names none."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""


def shape_of(token: str) -> Shape:
    """Returns what a token looks like. Raises `AccessTokenError` for a text that is no whole token."""
    if len(token) > LONGEST or not _TOKEN.fullmatch(token):
        raise AccessTokenError("malformed", "this is no access token: it is too long, or has signs that no token has")
    parts = token.split(".")
    header = _json_object(parts[0]) or {}
    if "alg" not in header:
        if len(token) < _SHORTEST_OPAQUE:
            raise AccessTokenError("malformed", "this is no access token: it is too short")
        return Shape(is_jwt=False)
    if len(parts) == 5:  # JWE (RFC 7516): only its provider can read it
        return Shape(is_jwt=True)
    claims = _json_object(parts[1]) if len(parts) == 3 else None
    if claims is None:
        raise AccessTokenError("cut", "the beginning of a JWT has come, and not its end")
    return Shape(is_jwt=True, is_access_token=_is_access_token(header), claims=claims)


def _is_access_token(header: Mapping[str, Any]) -> bool:
    kind = header.get("typ")
    return isinstance(kind, str) and kind.lower() in _TYPES


def is_cut(token: str) -> bool:
    """Whether this is probably a part of a longer token: it fills the buffer of ssh, or its signature is short."""
    signature = token.split(".")[2:]
    return len(token) == SSH_CUTS_AT or (len(signature) == 1 and len(_bytes(signature[0])) not in _SIGNATURES)


def _json_object(part: str) -> dict[str, Any] | None:
    try:
        found = json.loads(_bytes(part), object_pairs_hook=without_repetition)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _bytes(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return b""


def _scopes(value: object) -> object:
    """Returns the scopes. Some providers write a list (RFC 9068 §2.2.3 has one text)."""
    if isinstance(value, list):
        return frozenset(each for each in value if isinstance(each, str))
    return frozenset(value.split()) if isinstance(value, str) else frozenset()


_Scopes = Annotated[frozenset[str], BeforeValidator(_scopes)]


class _Claims(Document):
    """What is checked, in a JWT (RFC 9068 §2.2) and in an answer of the introspection endpoint (RFC 7662 §2.2)."""

    iss: str | None = None
    aud: str | list[str] = Field(default_factory=list)
    exp: NumericDate | None = None
    nbf: NumericDate | None = None
    cnf: Any = None
    scope: _Scopes = frozenset()


class _Introspection(_Claims):
    active: bool
    token_type: str = "bearer"
    typ: str = "bearer"
    token_use: str = "access"


def _unverified_end(token: str) -> float | None:
    """Returns `exp` of a JWT that nobody has verified: it can only make the token count for a shorter time."""
    ends = shape_of(token).claims.get("exp")
    return ends if type(ends) in (int, float) else None


def check_unbound(confirmation: object) -> None:
    """Raises `AccessTokenError` for a token with this claim `cnf`: a proof of its key would have to come with it."""
    if confirmation is not None:
        raise AccessTokenError("bound", "the token is bound to a key of its owner (DPoP or mTLS)")


class Verification:
    """How the access tokens of one provider are verified. Safe for several threads; the methods block.

    A token must be for one of `audience`; None: for anybody. `wanted` are claims that UserInfo may add. The methods
    raise `AccessTokenError` for a token that opens nothing, `OpenIdError` for an answer of the provider that proves
    nothing, and `RemoteServiceError` for a provider that gives none.
    """

    def __init__(self, provider: Provider, audience: Collection[str] | None, wanted: Collection[str]) -> None:
        self._provider = provider
        self._audience = audience
        self._wanted = wanted

    def from_jwt(self, token: str, deadline: Deadline) -> AccessToken:
        """Returns whose token it is, by RFC 9068 §4."""
        decoded, claims = self._signed(token, deadline)
        if not _is_access_token(decoded.header):
            raise AccessTokenError("type", "the token is no access token of RFC 9068: its typ is not at+jwt")
        return self._access_token(dict(decoded.claims), claims.scope, claims.exp, token, deadline)

    def _signed(self, token: str, deadline: Deadline) -> tuple[Token, _Claims]:
        """Returns a JWT that the provider has signed, for this host and this time. It may be an ID token."""
        try:
            decoded = self._provider.decode(token, deadline)
            claims = _Claims.model_validate(decoded.claims)
        except BadSignatureError:
            raise AccessTokenError("signature", "the signature of the token is wrong") from None
        except InvalidKeyIdError:
            raise AccessTokenError("key", "the provider has no such key") from None
        except JoseError as error:
            raise AccessTokenError("malformed", f"the token is not good: {type(error).__name__}") from None
        except ValidationError as error:
            raise AccessTokenError("malformed", f"the token is not good: {first_fault(error)}") from None
        if claims.iss is None or claims.exp is None:
            raise AccessTokenError("malformed", "the token has no iss or no exp")
        self._check(claims)
        return decoded, claims

    def from_introspection(self, token: str, deadline: Deadline) -> AccessToken:
        """Returns whose token it is, as the introspection endpoint says."""
        answer = self._provider.introspect(token, deadline)
        try:
            found = _Introspection.model_validate(answer)
        except ValidationError as error:
            raise OpenIdError(f"the introspection endpoint: {first_fault(error)}") from None
        if not found.active:
            raise AccessTokenError("unknown", "the provider says that the token is not active")
        kinds = {found.token_type.lower(), found.typ.lower(), found.token_use.lower()}
        if not kinds <= _BEARER:
            raise AccessTokenError("type", "the provider says that the token is no bearer access token")
        self._check(found)
        return self._access_token(answer, found.scope, found.exp, token, deadline)

    def from_userinfo(self, token: str, deadline: Deadline) -> AccessToken:
        """Returns whose token it is, as the userinfo endpoint says, which takes no ID token.

        It does not say for whom the token is. Where that counts, the token must be a JWT that says so.
        """
        claims, scopes, ends = {}, frozenset[str](), _unverified_end(token)
        if self._audience is not None:
            decoded, found = self._signed(token, deadline)
            claims, scopes, ends = dict(decoded.claims), found.scope, found.exp
        try:
            told = self._provider.userinfo(token, deadline)
        except OpenIdError as error:
            raise AccessTokenError("unknown", str(error)) from None
        if claims.get("sub", told.get("sub")) != told.get("sub"):
            raise OpenIdError("the userinfo endpoint speaks of somebody else")
        return AccessToken(self._identity(claims | told, scopes), ends)

    def _check(self, claims: _Claims) -> None:
        now = self._provider.now()
        if claims.iss not in (None, self._provider.issuer):
            raise AccessTokenError("issuer", "the token is of another issuer")
        if claims.exp is not None and now >= claims.exp:
            raise AccessTokenError("expired", "the token has expired")
        if claims.nbf is not None and claims.nbf > now + CLOCK_LEEWAY.total_seconds():
            raise AccessTokenError("early", "the token is not valid yet")
        check_unbound(claims.cnf)
        audience = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
        if self._audience is not None and not audience & set(self._audience):
            raise AccessTokenError("audience", "the token is for another service")

    def _access_token(
        self, claims: dict[str, Any], scopes: frozenset[str], ends: float | None, token: str, deadline: Deadline
    ) -> AccessToken:  # fmt: skip
        return AccessToken(self._identity(self._completed(claims, token, deadline), scopes), ends)

    def _completed(self, claims: dict[str, Any], token: str, deadline: Deadline) -> dict[str, Any]:
        """Returns the claims of the token, with those that only UserInfo has. The claims alone, if it says nothing."""
        if claims.get("sub") is None:
            return claims
        try:
            return self._provider.add_userinfo(self._wanted, claims, token, deadline)
        except OpenIdError:  # some providers take no token there that is for another service
            return claims

    def _identity(self, claims: Mapping[str, Any], scopes: frozenset[str]) -> Identity:
        subject = subject_of(claims, ("sub",))
        if subject is None:
            raise AccessTokenError("unknown", "the token does not say whose it is")
        return Identity(self._provider.issuer, subject, claims, scopes)
