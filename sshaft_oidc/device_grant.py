"""Logs a person in at an OpenID Provider from a device without a browser: the device grant (RFC 8628)."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AliasChoices, Field

from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.errors import ReachError
from sshaft.validation import OptionalMember
from sshaft_oidc.provider import Provider, Tokens, error_of, s256
from sshaft_oidc.remote_keys import Document, OpenIdError, parse

_DEFAULT_INTERVAL = 5.0
_MAX_INTERVAL = 60.0
_MAX_LIFETIME = 3600.0


class DeviceGrantError(OpenIdError):
    """The provider ended the grant. `error` is its code (§3.5): `access_denied`, `expired_token` or another one."""

    def __init__(self, error: str) -> None:
        super().__init__(f"the provider ended the device grant: {error}", code=error)
        self.error = error


_ShownUrl = Annotated[Url, Field(max_length=900)]
"""An old ssh cuts a text without a prompt after 1,024 characters."""


class _DeviceAuthorization(Document):
    """The answer of the device authorization endpoint (§3.2). Google says `verification_url`."""

    device_code: str = Field(min_length=1, max_length=4096, repr=False)
    user_code: str = Field(pattern=r"^[\x21-\x7E](?:[\x20-\x7E]{0,62}[\x21-\x7E])?$")
    verification_uri: _ShownUrl = Field(validation_alias=AliasChoices("verification_uri", "verification_url"))
    verification_uri_complete: OptionalMember[_ShownUrl] = None
    expires_in: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    interval: OptionalMember[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = None


@dataclass(slots=True)
class DeviceCode:
    """A login that waits for its person. `interval` (seconds between two polls) grows when the provider asks for it."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: float
    interval: float
    device_code: str = field(repr=False)
    verifier: str | None = field(repr=False)


class DeviceGrant:
    """The device grant of one provider. Safe for several threads; the methods block until their deadline at most.

    They raise `OpenIdError` for an answer that proves nothing, and `RemoteServiceError` for a provider that gives none.
    """

    def __init__(self, provider: Provider, scopes: tuple[str, ...], more: Mapping[str, str] | None = None) -> None:
        """`more` are further parameters of the request, such as the audience."""
        self.provider = provider
        self._scopes = scopes
        self._more = dict(more or {})

    def begin(self, deadline: Deadline) -> DeviceCode:
        """Asks for a new user code (§3.1), with PKCE S256 (RFC 7636) where the metadata lists it."""
        metadata = self.provider.metadata(deadline)
        if metadata.device_authorization_endpoint is None:
            raise OpenIdError("the provider's metadata names no device_authorization_endpoint")
        verifier = None
        form = self._more | {"client_id": self.provider.credentials.client_id, "scope": " ".join(self._scopes)}
        if "S256" in (metadata.code_challenge_methods_supported or ()):
            verifier = secrets.token_urlsafe(32)
            form["code_challenge"] = s256(verifier)
            form["code_challenge_method"] = "S256"
        try:
            answer = self.provider.post(metadata.device_authorization_endpoint, form, deadline)
        except ReachError:  # the provider may have closed a connection that was kept; a second code harms nobody
            answer = self.provider.post(metadata.device_authorization_endpoint, form, deadline)
        given = parse(_DeviceAuthorization, answer, "the device authorization endpoint")
        return DeviceCode(
            given.user_code, given.verification_uri, given.verification_uri_complete,
            min(given.expires_in, _MAX_LIFETIME), min(given.interval or _DEFAULT_INTERVAL, _MAX_INTERVAL),
            given.device_code, verifier,
        )  # fmt: skip

    def poll(self, code: DeviceCode, deadline: Deadline) -> Tokens | None:
        """Returns the tokens of the person who has approved, or None: not yet (§3.4, §3.5).

        A `slow_down` and an answer that does not come make the interval of `code` longer by five seconds. Raises
        `DeviceGrantError` if the person denied, or the code has ended.
        """
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": code.device_code}
        if code.verifier is not None:
            form["code_verifier"] = code.verifier
        try:
            answer = self.provider.post(self.provider.metadata(deadline).token_endpoint, form, deadline)
        except ReachError:
            _slow_down(code)
            return None
        if answer.status == 200:
            return parse(Tokens, answer, "the token endpoint")
        match error_of(answer):
            case "authorization_pending":
                return None
            case "slow_down":
                _slow_down(code)
                return None
            case error:
                raise DeviceGrantError(error)


def _slow_down(code: DeviceCode) -> None:
    code.interval = min(code.interval + 5, _MAX_INTERVAL)
