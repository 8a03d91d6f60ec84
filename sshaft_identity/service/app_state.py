"""Builds the `AppState` that all endpoints share, with the settings of the OpenID Provider for "my keys"."""

from dataclasses import replace
from datetime import datetime
from functools import partial
from ipaddress import ip_network

from anyio import CapacityLimiter

from sshaft.log import get_logger
from sshaft_identity.common.times import Clock
from sshaft_identity.database.batches import Batches
from sshaft_identity.database.changes import Changes
from sshaft_identity.pages.sign_in_oidc import CALLBACK
from sshaft_identity.people.activity import Activity
from sshaft_identity.people.linked_accounts import LinkedAccounts
from sshaft_identity.people.sessions import Session, Sessions
from sshaft_identity.service.named_files import NamedFiles
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store
from sshaft_identity.web.state import AppState, OpenId
from sshaft_oidc.code_flow import RelyingParty
from sshaft_oidc.settings import ProviderSettings

_PROVIDER_THREADS = 8
"""At most so many threads wait for the OpenID Provider at a time."""
_POSTGRESQL_THREADS = 8
"""More threads would only compete for the interpreter's lock."""


def make_state(store: Store, settings: Settings, clock: Clock, named: NamedFiles) -> AppState:
    """Raises `ConfigurationError` if the secret or the key for the OpenID Provider cannot be used."""
    if networks := [each for each in settings.trusted_proxies if ip_network(each).num_addresses > 1]:
        advice = "each host there can claim any address: name the single addresses of the proxies"
        get_logger().warning("trusted_proxies.network", networks=networks, advice=advice)
    if store.database.is_postgresql:
        run_read = run_write = Batches(threads=_POSTGRESQL_THREADS, most=1).run
    else:
        run_read, run_write = Batches(store.access_tokens.cached).run, Batches(store.together).run
    state = AppState(
        store,
        settings,
        clock,
        changes=Changes(clock),
        sessions=Sessions(store.database, settings.sessions),
        activity=Activity(store.database),
        run_read=run_read,
        run_write=run_write,
        openid=None,
        languages=named.languages,
    )
    return changed_state(state, settings, named)


def changed_state(state: AppState, settings: Settings, named: NamedFiles) -> AppState:
    """Returns the state with other settings and the same store. Raises `ConfigurationError` as `make_state` does."""
    store = state.store
    return replace(
        state,
        settings=settings,
        sessions=Sessions(store.database, settings.sessions),
        openid=_openid(store, settings, settings.oidc, state.clock) if settings.oidc else None,
        open_enrolment=partial(_open_enrolment, store, settings),
        attestation_roots=named.roots,
        look=named.look,
        network_owners=named.network_owners,
        languages=named.languages,
    )


def _open_enrolment(store: Store, settings: Settings, session: Session, now: datetime) -> str:
    return settings.enrolment_url(store.enrolments.open(session.user, now, session=session).page_token)


def _openid(store: Store, settings: Settings, provider: ProviderSettings, clock: Clock) -> OpenId:
    http = provider.http_client("openid_provider")
    party = RelyingParty(provider, settings.base_url + CALLBACK, provider.credentials(), http, clock)
    return OpenId(party, LinkedAccounts(store.database), CapacityLimiter(_PROVIDER_THREADS))
