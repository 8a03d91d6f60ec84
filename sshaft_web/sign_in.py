"""Signs people in at the OpenID Provider (authorization code flow with PKCE), and out."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sshaft.errors import RemoteServiceError, SshaftError
from sshaft.log import get_logger
from sshaft_oidc.code_flow import SignIn, new_attempt
from sshaft_oidc.provider import SIGN_IN_LIFETIME
from sshaft_oidc.remote_keys import OpenIdError
from sshaft_web import events
from sshaft_web.browsers import (
    SESSION,
    SIGN_IN,
    RefusedError,
    check_origin,
    client_address,
    cookies_of,
    session_or_none,
    to_public_url,
)
from sshaft_web.people.provider import CALLBACK
from sshaft_web.people.sessions import End, Person
from sshaft_web.people.tokens import SessionTokens
from sshaft_web.state import state_of

_LONGEST_NAME = 80


async def begin(request: Request) -> Response:
    """Redirects to the provider. Another site can send a browser here: that only begins a sign-in of its person."""
    if elsewhere := to_public_url(request, "/sign-in"):
        return elsewhere
    state = state_of(request)
    attempt = new_attempt(state.provider.now())
    try:
        response = RedirectResponse(await state.provider.authorization_url(attempt), 303)
    except (OpenIdError, RemoteServiceError) as error:
        raise _failed(error) from None
    # Lax: the redirect back comes from another site, the provider's
    cookies_of(request).write(response, SIGN_IN, attempt, int(SIGN_IN_LIFETIME.total_seconds()), "lax")
    return response


async def callback(request: Request) -> Response:
    """Begins a session with a cookie of its own. A cookie that was there before the sign-in means nothing."""
    state, cookies, pairs = state_of(request), cookies_of(request), request.query_params.multi_items()
    query, attempt = dict(pairs), cookies.read(request, SIGN_IN)
    if len(query) != len(pairs):  # RFC 6749 §3.1: no parameter may occur twice
        attempt = None
    try:
        done = await state.provider.finish(attempt, query)
    except (OpenIdError, RemoteServiceError) as error:
        raise _failed(error) from None
    before = session_or_none(request)
    person, sid = _person(request, done), done.all_claims.get("sid")
    tokens = SessionTokens(state.provider, done.tokens, state.clock)
    cookie, session = state.sessions.begin(person, sid if isinstance(sid, str) else None, tokens)
    if before is not None:
        state.terminals.hand_over(before, session)
        state.sessions.finish(before, End.REPLACED)
    response = RedirectResponse("/", 303)
    cookies.clear(response, SIGN_IN)
    cookies.write(response, SESSION, cookie, state.settings.limits.sign_in_seconds, "lax")
    events.signed_in(person, client_address(request))
    return response


async def sign_out(request: Request) -> Response:
    """Ends the session and its terminals, here and at the provider."""
    check_origin(request)
    state, session = state_of(request), session_or_none(request)
    response = RedirectResponse("/", 303)
    cookies_of(request).clear(response, SESSION)
    if session is not None:
        state.sessions.finish(session, End.SIGNED_OUT)
        try:
            await session.tokens.revoke()
        except (OpenIdError, RemoteServiceError) as error:
            get_logger().warning("tokens.not_revoked", reason=str(error), error=error.code)
    return response


def _person(request: Request, done: SignIn) -> Person:
    claim = done.all_claims.get(state_of(request).settings.provider.name_claim)
    name = claim if isinstance(claim, str) and claim else done.claims.sub
    return Person(done.claims.iss, done.claims.sub, name[:_LONGEST_NAME])


def _failed(error: SshaftError) -> RefusedError:
    if isinstance(error, RemoteServiceError):
        get_logger().error("provider.unavailable", reason=str(error))
        return RefusedError(503, "provider_unavailable", "The provider does not answer now. Try again in a minute.",
                            "Not available now")  # fmt: skip
    get_logger().warning("sign_in.refused", reason=str(error), error=error.code)
    sentence = "The sign-in failed. Start it again. If it fails again, tell your administrator."
    return RefusedError(403, "sign_in_failed", sentence, "Not signed in")


ROUTES = [
    Route("/sign-in", begin, methods=["GET"]),
    Route(CALLBACK, callback, methods=["GET"]),
    Route("/sign-out", sign_out, methods=["POST"]),
]
