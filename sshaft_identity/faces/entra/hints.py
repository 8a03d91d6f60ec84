"""The hint by which Microsoft Entra ID says whom it has asked for the password: checked here, whatever its age."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from anyio import CapacityLimiter
from joserfc.errors import JoseError
from pydantic import Field, ValidationError

from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.http_client import HttpClient
from sshaft.validation import first_fault
from sshaft_identity.faces.entra.options import EntraClient, Guid
from sshaft_identity.signing.signing_keys import Algorithm
from sshaft_oidc.remote_keys import KEYS_LIFETIME, MAX_ANSWER, Document, OpenIdError, RemoteKeys, parse

WINDOW = timedelta(minutes=10)
"""How old a hint may be: so long Entra waits for us. It is past its own `exp` by design."""
LEEWAY = timedelta(minutes=1)
SECONDS = 10.0
WAITING = 8


class _Metadata(Document):
    jwks_uri: Url


class Hint(Document):
    """Who Entra says it is. `preferred_username` may change and be another's tomorrow; tid and oid never do."""

    iss: str
    aud: str
    iat: int | float
    tid: Guid
    oid: Guid
    sub: str = Field(min_length=1, max_length=255)
    preferred_username: str = Field(default="", max_length=255)


class EntraHints:
    """Checks what Microsoft has signed, by the keys that it publishes."""

    def __init__(self, clock: Callable[[], datetime], http: HttpClient | None = None) -> None:
        self.limiter = CapacityLimiter(WAITING)
        self._http = http or HttpClient(max_answer=MAX_ANSWER, peer="microsoft")
        self._clock = clock
        self._authorities: dict[str, tuple[datetime, str, RemoteKeys]] = {}

    def checked(self, hint: str, options: EntraClient) -> Hint:
        """Blocks. Raises `OpenIdError` for one that proves nothing, `RemoteServiceError` where Microsoft is away."""
        deadline, now = Deadline.after(SECONDS), self._clock()
        try:
            jwks_uri, keys = self._keys(options, deadline)
            claims = Hint.model_validate(keys.decode(hint, jwks_uri, [Algorithm.RS256], deadline))
        except (JoseError, ValueError) as error:
            fault = first_fault(error) if isinstance(error, ValidationError) else type(error).__name__
            raise OpenIdError(f"the id_token_hint is not good: {fault}") from None
        issued_at = datetime.fromtimestamp(max(0, min(claims.iat, 2**33)), UTC)
        faults = {
            "tid": claims.tid not in options.tenants,
            "iss": claims.iss != f"{options.authority}/{claims.tid}/v2.0",
            "aud": claims.aud != options.app_id,
            "iat": not now - WINDOW <= issued_at <= now + LEEWAY,
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            raise OpenIdError(f"the id_token_hint is not good: {', '.join(wrong)}")
        return claims

    def _keys(self, options: EntraClient, deadline: Deadline) -> tuple[str, RemoteKeys]:
        now = self._clock()
        known = self._authorities.get(options.authority)
        if known is None or abs(now - known[0]) >= KEYS_LIFETIME:
            answer = self._http.send("GET", options.metadata_url, deadline)
            jwks_uri = parse(_Metadata, answer, "Entra's metadata").jwks_uri
            known = self._authorities[options.authority] = now, jwks_uri, RemoteKeys(self._http, self._clock)
        return known[1:]
