"""Asks the identity service for approvals: opens one, waits for news of it, redeems the digits, and says how ssh ended.

The calls are those of `/api/v1/approvals` in docs/identity-api.md. They block.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.errors import IDENTITY, IdentityServiceError, ReachError
from sshaft.http_client import Answer
from sshaft.oauth.authorized_client import AuthorizedClient
from sshaft.validation import OptionalMember, first_fault
from sshaft_agent.breaker import Breaker
from sshaft_agent.host_login.approval.settings import ApprovalSettings
from sshaft_oidc.remote_keys import ADocument, Document

SCOPE = "approvals"
WAIT_SECONDS = 25
"""The longest wait for news that the service takes in one request."""
_SECONDS = 5.0
"""For one request that waits for nobody. A person waits meanwhile."""
_REPORT_SECONDS = 20.0
"""For a report, which may be long, and for which nobody waits."""
_DOWN = "has not answered the last requests, so this login does not wait for it"

Outcome = Literal["passed", "gone"]


class TooManyApprovalsError(Exception):
    """The identity service opens no more approvals for this person, source or host now."""


@dataclass(frozen=True)
class Wish:
    """A login to approve: the body of the request. `user` may approve, and `subject` alone if it is there.

    `subject`: the account belongs to this person. `remember`: for so many seconds the host will remember
    the approval.
    """

    host: str
    service: str
    account: str
    user: str
    client_ip: str | None
    key_fingerprint: str | None
    subject: str | None
    seconds: int
    remember: int | None


class Opened(Document):
    """An approval that waits. `interval`: seconds between two questions of its state."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    page: Annotated[Url, Field(max_length=1024)]
    expires_in: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    interval: Annotated[float, Field(ge=0.1, le=60)] = 2.0


class Linked(Document):
    """An account at the organisation's provider."""

    iss: str
    sub: str = Field(min_length=1, max_length=255)


class Verified(Document):
    """Who has approved, and how the person signed in there. `linked`: the account that the user has at a provider."""

    iss: str
    sub: str = Field(min_length=1, max_length=255)
    user: str = Field(min_length=1, max_length=256)
    amr: OptionalMember[list[str]] = None
    acr: OptionalMember[str] = None
    linked: OptionalMember[Linked] = None


@dataclass(frozen=True)
class WrongCode:
    """The digits are wrong. Without a try left, the approval is over."""

    tries_left: int


@dataclass(frozen=True)
class NotNow:
    """The digits count for nothing in this state: the page is not answered yet, or the approval is over."""

    state: str


class _State(Document):
    state: str = Field(max_length=32)


class _WrongCode(Document):
    tries_left: Annotated[int, Field(ge=0)]


class ApprovalService:
    """The approvals of this host. Safe for several threads. Raises `ConfigurationError` if a file cannot be used.

    The methods raise `ReachError` while the service is away, and `IdentityServiceError` for an answer that cannot be
    used. `monotonic` is in seconds.
    """

    def __init__(self, settings: ApprovalSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._base = f"{settings.issuer}/api/v1/approvals"
        token_endpoint = f"{settings.issuer}/oauth2/token"
        self._client = AuthorizedClient(
            settings.http_client(IDENTITY), settings.credentials(), token_endpoint, SCOPE
        )  # fmt: skip
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._breaker = Breaker()

    def check_client(self) -> None:
        """Gets an access token, if there is none. Raises the errors if this host may not ask for approvals."""
        self._client.access_tokens.get(Deadline.after(_SECONDS))

    def open(self, wish: Wish) -> Opened:
        """Opens an approval. Raises `TooManyApprovalsError`."""
        body = {name: value for name, value in asdict(wish).items() if value is not None}
        answer = self._guarded(lambda deadline: self._post("", body, deadline))
        if answer.status == 429:
            raise TooManyApprovalsError
        return _read(Opened, self._expect(201, answer, self._base), self._base)

    def state(self, approval: str, wait: int) -> str:
        """Returns the state, at once with `wait` 0, or else when it changes, after `wait` seconds at the latest."""
        url, deadline = f"{self._base}/{approval}", Deadline.after(wait + _SECONDS)
        answer = self._send("GET", url, deadline, params={"wait": wait} if wait else {})
        if answer.status == 404:
            return "ended"
        return _read(_State, self._expect(200, answer, self._base), self._base).state

    def verify(self, approval: str, code: str) -> Verified | WrongCode | NotNow:
        """Redeems the digits. The right ones are redeemed once."""
        answer = self._post(f"/{approval}/verify", {"code": code}, Deadline.after(_SECONDS))
        if answer.status == 400:
            return WrongCode(_read(_WrongCode, answer, self._base).tries_left)
        if answer.status == 409:
            return NotNow(_read(_State, answer, self._base).state)
        if answer.status == 404:
            return NotNow("ended")
        return _read(Verified, self._expect(200, answer, self._base), self._base)

    def end(self, approval: str, outcome: Outcome) -> None:
        """Tells the page whether ssh has passed or has gone."""
        answer = self._post(f"/{approval}/end", {"outcome": outcome}, Deadline.after(_SECONDS), may_repeat=True)
        if answer.status != 404:
            self._expect(204, answer, self._base)

    def report(self, body: dict[str, Any]) -> Answer:
        """Sends what the host remembers, and its sessions. The next report repeats one that fails."""
        return self._send("POST", f"{self._base}/report", Deadline.after(_REPORT_SECONDS), json=body)

    def _guarded(self, ask: Callable[[Deadline], Answer]) -> Answer:
        """Returns the answer. While the service is down, most logins fail at once and wait for no time limit."""
        with self._lock:
            if not self._breaker.allows(self._monotonic()):
                raise ReachError(f"{self._base}: {_DOWN}", unsent=True)
        is_away = True
        try:
            answer = ask(Deadline.after(_SECONDS))
            is_away = False
        except IdentityServiceError:
            is_away = False
            raise
        finally:
            with self._lock:
                if is_away:
                    self._breaker.failed(self._monotonic())
                else:
                    self._breaker.succeeded()
        return answer

    def _post(self, path: str, body: dict[str, Any], deadline: Deadline, *, may_repeat: bool = False) -> Answer:
        def once() -> Answer:
            return self._send("POST", f"{self._base}{path}", deadline, json=body)

        return self._client.retry(once, deadline, may_repeat=may_repeat)

    def _send(self, method: str, url: str, deadline: Deadline, **request: Any) -> Answer:
        return self._client.send(method, url, deadline, secrets.token_hex(8), **request)

    @staticmethod
    def _expect(status: int, answer: Answer, url: str) -> Answer:
        if answer.status != status:
            raise IdentityServiceError(f"{url}: answered {answer.status}: check approval.url and the client")
        return answer


def _read(kind: type[ADocument], answer: Answer, url: str) -> ADocument:
    try:
        return kind.model_validate_json(answer.body)
    except ValidationError as error:
        raise IdentityServiceError(f"{url}: answered {answer.status}, {first_fault(error)}") from None
