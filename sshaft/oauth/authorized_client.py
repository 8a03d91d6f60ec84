"""Calls a service as a client of its own: with an access token by `client_credentials` (RFC 6749 §4.4), and retries."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import tenacity
from pydantic import BaseModel, FiniteFloat, StringConstraints, ValidationError

from sshaft.deadline import Deadline
from sshaft.errors import IdentityServiceError, ReachError
from sshaft.http_client import Answer, HttpClient
from sshaft.oauth.access_token import AccessToken, AccessTokens, usable_until
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft.validation import OptionalMember

MAX_TRIES = 4


class _TokenAnswer(BaseModel):
    """A successful answer of the token endpoint (RFC 6749 §5.1)."""

    access_token: Annotated[str, StringConstraints(min_length=1, max_length=16384, pattern=r"^[\x21-\x7e]+$")]
    token_type: str
    expires_in: FiniteFloat | None = None


class _Problem(BaseModel):
    error: OptionalMember[str] = None


class AuthorizedClient:
    """A client of the identity service. Safe for several threads."""

    def __init__(
        self, http: HttpClient, credentials: ClientCredentials, token_endpoint: str, scope: str = "", *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._http = http
        self._credentials = credentials
        self._token_endpoint = token_endpoint
        self._scope = scope
        self._sleep = sleep
        self.access_tokens = AccessTokens(self._fetch_access_token)

    def close(self) -> None:
        self._http.close()

    def send(
        self,
        method: str,
        url: str,
        deadline: Deadline,
        request_id: str,
        *,
        headers: dict[str, str] | None = None,
        **request: Any,
    ) -> Answer:
        """Sends a request with the access token, and after a 401 once more with a new token: the old may be revoked.

        `request` and the errors are those of `HttpClient.send`.
        """
        token = self.access_tokens.get(deadline)
        for refused in (False, True):
            if refused:
                token = self.access_tokens.get(deadline, refused=token)
            bearer = {"Authorization": f"Bearer {token.value}", "X-Request-ID": request_id}
            answer = self._http.send(method, url, deadline, headers={**(headers or {}), **bearer}, **request)
            if answer.status != 401:
                return answer
        raise IdentityServiceError(f"{url}: refuses a new access token (401): check token_scope")

    def retry(self, once: Callable[[], Answer], deadline: Deadline, *, may_repeat: bool) -> Answer:
        """Returns the answer of `once`, which is called again after a `ReachError`.

        Without `may_repeat`, only a request that the service has not acted on is sent again.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, ReachError) and (may_repeat or error.unsent)
            ),
            stop=tenacity.stop_after_attempt(MAX_TRIES) | tenacity.stop_before_delay(deadline.remaining()),
            wait=tenacity.wait_exponential(multiplier=0.05) + tenacity.wait_random(0, 0.05),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(once)

    def _fetch_access_token(self, deadline: Deadline) -> AccessToken:
        url = self._token_endpoint
        asked_at = time.monotonic()
        grant = {"grant_type": "client_credentials"}
        if self._scope:
            grant["scope"] = self._scope
        request = self._credentials.token_request(grant, url)
        answer = self._http.send("POST", url, deadline, **request)
        if answer.status != 200:
            reason = _error_of(answer.body) or "no reason given"
            raise IdentityServiceError(f"{url}: gives no access token ({answer.status}, {reason}): check the client")
        try:
            token = _TokenAnswer.model_validate_json(answer.body)
        except ValidationError:
            raise IdentityServiceError(f"{url}: not a token answer (RFC 6749 section 5.1)") from None
        if token.token_type.lower() != "bearer":
            raise IdentityServiceError(f"{url}: gave a token that is no bearer token")
        return AccessToken(token.access_token, usable_until(asked_at, token.expires_in))


def _error_of(body: bytes) -> str | None:
    try:
        return _Problem.model_validate_json(body).error
    except ValidationError:
        return None
