"""Checks the logout tokens with which a provider signs a person out here (OpenID Connect Back-Channel Logout 1.0)."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from pydantic import Field, ValidationError

from sshaft.deadline import Deadline
from sshaft.validation import first_fault
from sshaft_oidc.provider import CLOCK_LEEWAY, NumericDate, Provider
from sshaft_oidc.remote_keys import Document, OpenIdError

EVENT = "http://schemas.openid.net/event/backchannel-logout"
_LIFETIME = 300.0
"""Seconds that a token counts after its `iat`, whatever its `exp` says."""
_TYPES = (None, "logout+jwt", "JWT")
_MOST_REMEMBERED = 10_000
LONGEST = 16 * 1024


@dataclass(frozen=True)
class Logout:
    """Whom a provider has signed out: the sign-in `sid`, or all sign-ins of `subject`. One of both is there."""

    issuer: str
    subject: str | None
    sid: str | None


class _Claims(Document):
    """The claims of §2.4."""

    iss: str
    aud: str | list[str]
    iat: NumericDate
    jti: str = Field(min_length=1, max_length=255)
    events: dict[str, Any]
    exp: NumericDate | None = None
    sub: str | None = Field(default=None, min_length=1, max_length=255)
    sid: str | None = Field(default=None, min_length=1, max_length=255)


class LogoutTokens:
    """The logout tokens of one provider. Each counts once. Safe for several threads; `check` blocks."""

    def __init__(self, provider: Provider, clock: Callable[[], float] | None = None) -> None:
        self._provider = provider
        self._clock = clock or provider.now
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}
        """Until when each `jti` must be remembered. The oldest comes first."""

    def check(self, token: str, deadline: Deadline) -> Logout:
        """Returns whom the token signs out. Raises `OpenIdError` for a token that proves nothing (§2.6)."""
        if len(token) > LONGEST:
            raise OpenIdError("the logout_token is too long")
        try:
            decoded = self._provider.decode(token, deadline)
            claims = _Claims.model_validate(decoded.claims)
        except (JoseError, ValueError) as error:
            fault = first_fault(error) if isinstance(error, ValidationError) else type(error).__name__
            raise OpenIdError(f"the logout_token is not good: {fault}") from None
        now, leeway = self._clock(), CLOCK_LEEWAY.total_seconds()
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        faults = {
            "typ": decoded.header.get("typ") not in _TYPES,
            "iss": claims.iss != self._provider.issuer,
            "aud": self._provider.credentials.client_id not in audience,
            "iat": not -leeway <= now - claims.iat <= _LIFETIME,
            "exp": claims.exp is not None and now >= claims.exp + leeway,
            "events": not isinstance(claims.events.get(EVENT), Mapping),
            "nonce": "nonce" in decoded.claims,  # an ID token must not sign anybody out
            "sub": claims.sub is None and claims.sid is None,
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            raise OpenIdError(f"the logout_token is not good: {', '.join(wrong)}")
        self._use(claims.jti, now)
        return Logout(claims.iss, claims.sub, claims.sid)

    def _use(self, jti: str, now: float) -> None:
        """Remembers the token. Raises `OpenIdError` if it came before."""
        with self._lock:
            while self._used and (next(iter(self._used.values())) <= now or len(self._used) >= _MOST_REMEMBERED):
                del self._used[next(iter(self._used))]
            if jti in self._used:
                raise OpenIdError("the logout_token came before", code="replayed")
            self._used[jti] = now + _LIFETIME + CLOCK_LEEWAY.total_seconds()
