"""What every endpoint works with: put together by `app`, found again through the request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from anyio import CapacityLimiter
from cryptography import x509
from starlette.requests import Request
from starlette.responses import Response

from sshaft_identity.common.times import Clock
from sshaft_identity.database.changes import Changes
from sshaft_identity.people.activity import Activity
from sshaft_identity.people.linked_accounts import LinkedAccounts
from sshaft_identity.people.sessions import Sessions
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store
from sshaft_identity.web.throttle import Throttle
from sshaft_oidc.code_flow import RelyingParty

LOGINS = 1000
InThread = Callable[[Callable[[], Response]], Awaitable[Response]]
"""Does the work of a request in another thread."""


@dataclass(frozen=True, slots=True)
class OpenId:
    """The organisation's provider. `limiter`: how many threads may wait for it."""

    party: RelyingParty
    accounts: LinkedAccounts
    limiter: CapacityLimiter


@dataclass(frozen=True, slots=True)
class AppState:
    store: Store
    settings: Settings
    clock: Clock
    changes: Changes
    sessions: Sessions
    activity: Activity
    throttle: Throttle
    reads: InThread
    writes: InThread
    openid: OpenId | None
    logins: Throttle = field(default_factory=lambda: Throttle(LOGINS))
    """Begun by browsers: whole companies have one address, so there may be many."""
    enrol: Callable[[str, datetime], str] | None = None
    """Opens an enrolment for a user who is signed in; the address of its page. None: "my keys" offers no such thing."""
    roots: list[x509.Certificate] = field(default_factory=list)
    """The makers of security keys whose attestations count."""


def state_of(request: Request) -> AppState:
    return cast("AppState", request.app.state.sshaft)
