"""What "my keys" is made of, put together for `AppState`."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter

from sshaft.http_client import HttpClient
from sshaft_identity.common.times import Clock
from sshaft_identity.enrolment.enrolments import MAX_LIFETIME
from sshaft_identity.pages.sign_in_oidc import CALLBACK
from sshaft_identity.people.activity import Activity
from sshaft_identity.people.linked_accounts import LinkedAccounts
from sshaft_identity.people.sessions import Sessions
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store
from sshaft_identity.web.state import OpenId
from sshaft_identity.web.throttle import Throttle
from sshaft_oidc.code_flow import RelyingParty
from sshaft_oidc.remote_keys import MAX_ANSWER
from sshaft_oidc.settings import ProviderSettings

WAITING_FOR_PROVIDER = 8


def account_parts(store: Store, settings: Settings, clock: Clock) -> dict[str, Any]:
    """Raises `ConfigurationError` if the secret or the key for the OpenID Provider cannot be used."""
    return {
        "sessions": Sessions(store.database, settings.sessions),
        "activity": Activity(store.database),
        "throttle": Throttle(),
        "openid": _openid(store, settings, settings.oidc, clock) if settings.oidc else None,
        "enrol": partial(_enrol, store, settings),
    }


def _enrol(store: Store, settings: Settings, user: str, now: datetime) -> str:
    """Opens an invitation for somebody who is signed in; the address of its page."""
    return settings.enrolment_url(store.enrolments.open(user, now, MAX_LIFETIME, None).page_token)


def _openid(store: Store, settings: Settings, provider: ProviderSettings, clock: Clock) -> OpenId:
    ca_file = Path(provider.ca_file) if provider.ca_file else None
    http = HttpClient(ca_file=ca_file, max_answer=MAX_ANSWER, peer="openid_provider")
    party = RelyingParty(provider, settings.base_url + CALLBACK, provider.credentials(), http, clock)
    return OpenId(party, LinkedAccounts(store.database), CapacityLimiter(WAITING_FOR_PROVIDER))
