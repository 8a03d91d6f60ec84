"""What every endpoint works with: put together by `app`, found again through the request."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from cryptography import x509
from starlette.requests import Request

from sshaft_identity.changes import Changes
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class AppState:
    store: Store
    settings: Settings
    clock: Clock
    changes: Changes
    roots: list[x509.Certificate] = field(default_factory=list)
    """The makers of security keys whose attestations count."""


def state_of(request: Request) -> AppState:
    return cast("AppState", request.app.state.sshaft)


def utc_now() -> datetime:
    return datetime.now(UTC)


def rfc3339(time: datetime) -> str:
    """UTC with `Z`, to the second: an end is rounded down, so nobody is promised more than there is."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
