"""What all requests share."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from starlette.requests import HTTPConnection

from sshaft_oidc.logout_token import LogoutTokens
from sshaft_web import events, targets
from sshaft_web.configuration import Settings
from sshaft_web.files.transfers import Transfers
from sshaft_web.pages.html import Pages
from sshaft_web.pages.static_files import StaticFiles
from sshaft_web.people.provider import WebProvider
from sshaft_web.people.sessions import Sessions
from sshaft_web.terminals.terminals import Terminals

_LISTINGS_PER_PERSON = 8


@dataclass(frozen=True)
class AppState:
    """The parts of the running program."""

    settings: Settings
    provider: WebProvider
    logout_tokens: LogoutTokens
    sessions: Sessions
    terminals: Terminals
    files: StaticFiles
    pages: Pages
    transfers: Transfers
    listings: Transfers
    clock: Callable[[], float]

    @classmethod
    def of(
        cls, settings: Settings, clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> "AppState":  # fmt: skip
        """Raises `ConfigurationError`: a file of the settings cannot be used."""
        sessions = Sessions(clock, settings.limits.sign_in_seconds, events.signed_out)
        terminals = Terminals(targets.read(settings), settings.limits, sessions, clock, events.Audit)
        files = StaticFiles()
        pages = Pages(settings.public_url, files)
        transfers = Transfers(settings.limits.transfers_per_person, settings.limits.transfers)
        listings = Transfers(_LISTINGS_PER_PERSON, settings.limits.transfers)
        provider = WebProvider(settings, now)
        logout_tokens = LogoutTokens(provider.client)
        return cls(settings, provider, logout_tokens, sessions, terminals, files, pages, transfers, listings, clock)


def state_of(request: HTTPConnection) -> AppState:
    return cast("AppState", request.app.state.sshaft)
