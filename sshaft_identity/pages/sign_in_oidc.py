"""Sign-in to "my keys" by the organisation's OpenID Provider: there and back again."""

from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sshaft.errors import RemoteServiceError
from sshaft.log import get_logger
from sshaft_identity.pages.sign_in_ssh import check_throttle
from sshaft_identity.pages.signed_in import begin_session
from sshaft_identity.people.linked_accounts import LinkVerdict
from sshaft_identity.people.sessions import FRESHNESS, Method
from sshaft_identity.web import cookies
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.html import PageError
from sshaft_identity.web.state import OpenId, state_of
from sshaft_oidc.code_flow import SIGN_IN_LIFETIME, Person, new_attempt
from sshaft_oidc.remote_keys import OpenIdError

CALLBACK = "/sign-in/oidc/callback"
ASK = "Ask your administrator."
SENTENCES = {
    LinkVerdict.NO_USER: ("Not known here", f"You are signed in there, but are no user of this service yet. {ASK}"),
    LinkVerdict.OTHER_SUBJECT: ("Not your name", f"Under this name somebody else has signed in here before. {ASK}"),
    LinkVerdict.OTHER_NAME: ("Another name", f"You have signed in here before under another user name. {ASK}"),
}
Result = TypeVar("Result")


async def begin(request: Request) -> Response:
    """A link, not a form: `form-action` of our policy would stop a form from being sent on to the provider. Whoever
    makes a browser follow it has begun a sign-in of that browser's own person, and nothing else.
    """
    state, openid = state_of(request), _openid(request)
    attempt = new_attempt(state.clock(), again=request.query_params.get("again") == "1")
    response = RedirectResponse(await _asked(openid, lambda: openid.party.authorization_url(attempt)), 303)
    # Lax: the provider sends the browser back from its own site
    seconds = int(SIGN_IN_LIFETIME.total_seconds())
    cookies.write(request, response, cookies.OIDC_SIGN_IN, attempt, seconds, "lax")
    return response


async def come_back(request: Request) -> Response:
    openid, pairs = _openid(request), request.query_params.multi_items()
    attempt, query = cookies.read(request, cookies.OIDC_SIGN_IN), dict(pairs)
    if len(query) != len(pairs):  # RFC 6749 §3.1: no parameter twice
        attempt = None
    check_throttle(request)
    response = await _signed_in(request, await _asked(openid, lambda: openid.party.identify(attempt, query)))
    cookies.clear(request, response, cookies.OIDC_SIGN_IN)
    return response


async def _signed_in(request: Request, person: Person) -> Response:
    state, openid = state_of(request), _openid(request)
    now, address = state.clock(), client_address(request)
    create = openid.party.provider.create_users
    verdict = await run_in_threadpool(openid.accounts.link, person, now, create=create, address=address)
    if verdict is not LinkVerdict.KNOWN:
        get_logger().warning("session.refused", user=person.name, method=Method.OIDC, reason=verdict)
        raise PageError(403, *SENTENCES[verdict])
    # How long ago the person proved themselves there counts; where that is not known it was not lately.
    proved = max(person.authenticated_at or now - FRESHNESS, now - FRESHNESS)
    response = await begin_session(request, person.name, Method.OIDC, proved)
    if response is None:
        raise PageError(403, *SENTENCES[LinkVerdict.NO_USER])
    get_logger().info("session.started", user=person.name, method=Method.OIDC)
    return response


def _openid(request: Request) -> OpenId:
    openid = state_of(request).openid
    if openid is None:
        raise PageError(404, "Not here", "There is no such page.")
    return openid


async def _asked(openid: OpenId, ask: Callable[[], Result]) -> Result:
    """What the provider says, in a thread of the few that wait for it: a slow one must not hold up the logins."""
    try:
        return await anyio.to_thread.run_sync(ask, limiter=openid.limiter)
    except OpenIdError as error:
        get_logger().warning("oidc.refused", reason=str(error), error=error.code)
        sentence = "The sign-in did not come to a good end. Start it again; if it stays so, tell your administrator."
        raise PageError(403, "Not signed in", sentence) from None
    except RemoteServiceError as error:
        get_logger().warning("oidc.unavailable", reason=str(error))
        sentence = "The sign-in of your organisation can't be reached now. Try again in a while, or sign in with SSH."
        raise PageError(503, "Not now", sentence) from None


ROUTES = [
    Route("/sign-in/oidc", begin, methods=["GET"]),
    Route(CALLBACK, come_back, methods=["GET"]),
]
