"""Defines `AppState`, which every endpoint gets from its request by `state_of`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from anyio import CapacityLimiter
from cryptography import x509
from starlette.requests import Request
from starlette.responses import Response

from sshaft_identity.common.language import Languages
from sshaft_identity.common.network_owners import NetworkOwners
from sshaft_identity.common.times import Clock
from sshaft_identity.database.changes import Changes
from sshaft_identity.people.activity import Activity
from sshaft_identity.people.linked_accounts import LinkedAccounts
from sshaft_identity.people.sessions import Session, Sessions
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store
from sshaft_identity.web.look import Look
from sshaft_identity.web.refusals import Refusals
from sshaft_identity.web.throttle import MAX_LOGINS, MAX_REPORTS, MAX_SIGN_INS, Throttle
from sshaft_identity.web.unknown_users import UnknownUsers
from sshaft_identity.web.waiting import Waiting
from sshaft_oidc.code_flow import RelyingParty

RunInThread = Callable[[Callable[[], Response]], Awaitable[Response]]
"""Runs a function in another thread and returns its response."""


@dataclass(frozen=True, slots=True)
class OpenId:
    """The organisation's OpenID Provider. `limiter` bounds the number of threads that wait for the provider."""

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
    run_read: RunInThread
    run_write: RunInThread
    openid: OpenId | None
    languages: Languages
    sign_in_throttle: Throttle = field(default_factory=lambda: Throttle(MAX_SIGN_INS))
    login_throttle: Throttle = field(default_factory=lambda: Throttle(MAX_LOGINS))
    report_throttle: Throttle = field(default_factory=lambda: Throttle(MAX_REPORTS))
    waiting: Waiting = field(default_factory=Waiting)
    refusals: Refusals = field(default_factory=Refusals)
    network_owners: NetworkOwners = field(default_factory=NetworkOwners)
    unknown_users: UnknownUsers = field(default_factory=UnknownUsers)
    open_enrolment: Callable[[Session, datetime], str] | None = None
    """Opens an enrolment in a session and returns the URL of its page. None: "my keys" offers no enrolment."""
    attestation_roots: list[x509.Certificate] = field(default_factory=list)
    """The certificates of the makers of security keys whose attestations are accepted."""
    look: Look = field(default_factory=Look)
    """The name, the logo and the colour of the pages."""


def state_of(request: Request) -> AppState:
    return cast("AppState", request.app.state.sshaft)
