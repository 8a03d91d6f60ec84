"""Checks the id_token_hint, in which Microsoft Entra ID names the person that has entered the password."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated

from anyio import CapacityLimiter
from joserfc.errors import JoseError
from pydantic import Field, ValidationError

from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.http_client import HttpClient
from sshaft.validation import OptionalMember, first_fault
from sshaft_identity.common.times import from_numeric_date
from sshaft_identity.faces.entra.options import EntraClient, Guid
from sshaft_identity.signing.signing_keys import Algorithm
from sshaft_oidc.remote_keys import KEYS_LIFETIME, MAX_ANSWER, Document, OpenIdError, RemoteKeys, parse

MAX_HINT_AGE = timedelta(minutes=10)
"""Entra waits this long for our answer. The `exp` of a hint is earlier, so it is not checked."""
LEEWAY = timedelta(minutes=1)
REQUEST_SECONDS = 10.0
MAX_PARALLEL = 8


class _Metadata(Document):
    jwks_uri: Url


class Hint(Document):
    """The claims of a hint. `tid` and `oid` never change. `preferred_username` can change and get another owner."""

    iss: str
    aud: str
    iat: int | float
    tid: Guid
    oid: Guid
    sub: str = Field(min_length=1, max_length=255)
    preferred_username: OptionalMember[Annotated[str, Field(max_length=255)]] = None


class EntraHints:
    """Checks hints with the keys that Microsoft publishes."""

    def __init__(self, clock: Callable[[], datetime], http: HttpClient | None = None) -> None:
        self.limiter = CapacityLimiter(MAX_PARALLEL)
        self._http = http or HttpClient(max_answer=MAX_ANSWER, peer="microsoft")
        self._clock = clock
        self._authorities: dict[str, tuple[datetime, str, RemoteKeys]] = {}

    def checked(self, hint: str, options: EntraClient) -> Hint:
        """Blocks. Raises `OpenIdError` for an invalid hint, and `RemoteServiceError` if Microsoft does not answer."""
        deadline, now = Deadline.after(REQUEST_SECONDS), self._clock()
        try:
            jwks_uri, keys = self._keys(options, deadline)
            claims = Hint.model_validate(keys.decode(hint, jwks_uri, [Algorithm.RS256], deadline).claims)
        except (JoseError, ValueError) as error:
            fault = first_fault(error) if isinstance(error, ValidationError) else type(error).__name__
            raise OpenIdError(f"the id_token_hint is invalid: {fault}") from None
        faults = {
            "tid": claims.tid not in options.tenants,
            "iss": claims.iss != f"{options.authority}/{claims.tid}/v2.0",
            "aud": claims.aud != options.app_id,
            "iat": not now - MAX_HINT_AGE <= from_numeric_date(claims.iat) <= now + LEEWAY,
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            raise OpenIdError(f"the id_token_hint is invalid: {', '.join(wrong)}")
        return claims

    def _keys(self, options: EntraClient, deadline: Deadline) -> tuple[str, RemoteKeys]:
        now = self._clock()
        cached = self._authorities.get(options.authority)
        if cached is None or abs(now - cached[0]) >= KEYS_LIFETIME:
            answer = self._http.send("GET", options.metadata_url, deadline)
            jwks_uri = parse(_Metadata, answer, "Entra's metadata").jwks_uri
            cached = self._authorities[options.authority] = now, jwks_uri, RemoteKeys(self._http, self._clock)
        return cached[1:]
