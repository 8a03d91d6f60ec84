"""Lets people sign in to "My keys" at the OpenID Provider of the organisation (authorization code flow)."""

from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sshaft.errors import RemoteServiceError
from sshaft.log import get_logger
from sshaft_identity.common.language import N_
from sshaft_identity.pages.sign_in_ssh import check_throttle
from sshaft_identity.pages.signed_in import begin_session
from sshaft_identity.people.linked_accounts import LinkVerdict
from sshaft_identity.people.sessions import FRESHNESS, Method, Proof
from sshaft_identity.web import cookies
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.html import PageError
from sshaft_identity.web.known_browsers import remember, source_of_request
from sshaft_identity.web.state import OpenId, state_of
from sshaft_oidc.code_flow import Person, new_attempt
from sshaft_oidc.provider import SIGN_IN_LIFETIME
from sshaft_oidc.remote_keys import OpenIdError

BEGIN, CALLBACK = "/sign-in/oidc", "/sign-in/oidc/callback"
SENTENCES = {
    LinkVerdict.NO_USER: (
        N_("Unknown user"),
        N_("Your organisation knows you, but this service does not yet. Ask your administrator."),
    ),
    LinkVerdict.OTHER_SUBJECT: (
        N_("Not your name"),
        N_("Another account has signed in here with this user name before. Ask your administrator."),
    ),
    LinkVerdict.OTHER_NAME: (
        N_("Another name"),
        N_("You have signed in here before under another user name. Ask your administrator."),
    ),
}
Result = TypeVar("Result")


async def begin(request: Request) -> Response:
    """Redirects to the provider. A link leads here: the `form-action` of our policy would block a form's redirect.
    Another site can send a browser here. That only begins a sign-in of the browser's own person.
    """
    state, openid = state_of(request), _openid(request)
    attempt = new_attempt(state.clock(), again=request.query_params.get("again") == "1")
    response = RedirectResponse(await _ask_provider(openid, lambda: openid.party.authorization_url(attempt)), 303)
    # Lax: the redirect back comes from another site, the provider's
    seconds = int(SIGN_IN_LIFETIME.total_seconds())
    cookies.write(request, response, cookies.OIDC_SIGN_IN, attempt, seconds, "lax")
    return response


async def callback(request: Request) -> Response:
    openid, pairs = _openid(request), request.query_params.multi_items()
    attempt, query = cookies.read(request, cookies.OIDC_SIGN_IN), dict(pairs)
    if len(query) != len(pairs):  # RFC 6749 §3.1: no parameter may occur twice
        attempt = None
    check_throttle(request)
    began, source = state_of(request).clock(), source_of_request(request)
    response = await _start_session(request, await _ask_provider(openid, lambda: openid.party.identify(attempt, query)))
    cookies.clear(request, response, cookies.OIDC_SIGN_IN)
    state_of(request).sign_in_throttle.ended(source, began)
    remember(request, response)
    return response


async def _start_session(request: Request, person: Person) -> Response:
    state, openid = state_of(request), _openid(request)
    now, address = state.clock(), client_address(request)
    create = openid.party.provider.create_users
    verdict = await run_in_threadpool(openid.accounts.link, person, now, create=create, address=address)
    if verdict is not LinkVerdict.KNOWN:
        get_logger().warning("session.refused", user=person.name, method=Method.OIDC, reason=verdict)
        raise PageError(403, *SENTENCES[verdict])
    # The time of the authentication at the provider counts. An unknown time counts as no longer fresh.
    authenticated_at = max(person.authenticated_at or now - FRESHNESS, now - FRESHNESS)
    # Of the groups, a session keeps only those that have a role.
    groups = person.groups & state.settings.desk.groups
    proof = Proof(Method.OIDC, authenticated_at, issuer=person.issuer, groups=groups, amr=person.amr, acr=person.acr)
    response = await begin_session(request, person.name, proof)
    if response is None:
        raise PageError(403, *SENTENCES[LinkVerdict.NO_USER])
    get_logger().info("session.started", user=person.name, method=Method.OIDC)
    return response


def _openid(request: Request) -> OpenId:
    openid = state_of(request).openid
    if openid is None:
        raise PageError(404, N_("Not here"), N_("There is no such page."))
    return openid


async def _ask_provider(openid: OpenId, ask: Callable[[], Result]) -> Result:
    """Returns the provider's answer. Only a few threads may wait for it: a slow provider must not delay logins."""
    try:
        return await anyio.to_thread.run_sync(ask, limiter=openid.limiter)
    except OpenIdError as error:
        get_logger().warning("oidc.refused", reason=str(error), error=error.code)
        sentence = N_("The sign-in failed. Start it again. If it fails again, tell your administrator.")
        raise PageError(403, N_("Not signed in"), sentence) from None
    except RemoteServiceError as error:
        get_logger().warning("oidc.unavailable", reason=str(error))
        sentence = N_("The sign-in of your organisation does not answer now. Try again later, or sign in with SSH.")
        raise PageError(503, N_("Not now"), sentence) from None


ROUTES = [
    Route(BEGIN, begin, methods=["GET"]),
    Route(CALLBACK, callback, methods=["GET"]),
]
