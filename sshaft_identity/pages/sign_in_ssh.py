"""Lets people sign in to "My keys" by SSH: a challenge that names no user signs in the owner of the key.
The challenge belongs to the browser that opened it: its page token is in no URL, only in a cookie of that browser.
So nobody can send another person a link to a sign-in of their own (login CSRF), and no URL reveals a sign-in.
"""

from datetime import timedelta
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import RESULT_GRACE, Challenge, Context, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.challenges.sign_in import sign_in_by_ssh
from sshaft_identity.common.language import N_, _
from sshaft_identity.pages.challenge import challenge_page
from sshaft_identity.pages.challenge_forms import challenge_routes
from sshaft_identity.pages.signed_in import KEYS, SIGN_IN, facts_of, lead_on, session_of
from sshaft_identity.pages.words import MY_KEYS, provider_label
from sshaft_identity.web import cookies, logins
from sshaft_identity.web.browsers import client_address, form_of, user_agent
from sshaft_identity.web.call import Call
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.known_browsers import remember, source_of_request, too_many
from sshaft_identity.web.state import state_of

_BY_SSH = "/sign-in/ssh"
_NOTES = {
    "again": N_("Sign in again: adding or removing a key needs a fresh sign-in."),
    "nobody": N_("You are not signed in, or no longer."),
    "signed_out": N_("You are signed out."),
    "everywhere": N_("You are signed out in every browser."),
    "removed": N_("The key is removed. You had signed in with it, so you are signed out."),
    "no_cookie": N_(
        "This browser has no pending sign-in. A sign-in needs a cookie, which browsers keep over https only."
    ),
}


async def sign_in(request: Request) -> Response:
    """Shows the ways to sign in, or redirects a signed-in person to their keys. `?note=` names a note to show."""
    note = _(_NOTES.get(request.query_params.get("note", ""), ""))
    again = request.query_params.get("note") == "again"
    if not again and await session_of(request) is not None:
        return redirect(request, KEYS)
    return render(request, "sign_in.html", note=note, provider=provider_label(state_of(request)), again=again)


async def begin(request: Request) -> Response:
    await form_of(request)
    state, address = state_of(request), client_address(request)
    if before := await _sign_in_of_browser(request):
        await _replace(request, before)
    check_throttle(request)
    wish = Wish(
        None, timedelta(seconds=state.settings.lifetime), context=Context(MY_KEYS, address, user_agent(request))
    )
    opened = await run_in_threadpool(logins.open_login, Call(request), wish)
    response, seconds = redirect(request, _BY_SSH), state.settings.lifetime + int(RESULT_GRACE.total_seconds())
    cookies.write(request, response, cookies.SSH_SIGN_IN, opened.page_token, seconds, "strict")
    return response


async def _replace(request: Request, before: Challenge) -> None:
    """Cancels the sign-in of this browser, which begins another one. So the throttle does not refuse the new one."""
    state = state_of(request)
    if await run_in_threadpool(state.store.challenges.cancel, before.id, state.clock()):
        state.sign_in_throttle.ended(source_of_request(request), before.created_at)
    state.changes.notify([before])


def check_throttle(request: Request) -> None:
    """Counts a sign-in of this browser or address. Raises `PageError` if too many are open."""
    state, source = state_of(request), source_of_request(request)
    if not state.sign_in_throttle.allows(source, state.clock()):
        raise too_many(request, "sign-ins", state.sign_in_throttle.wait(source, state.clock()))


async def page(request: Request) -> Response:
    """Shows the page of this browser's challenge. After the SSH login, signs the owner of the key in, once."""
    token, challenge = cookies.read(request, cookies.SSH_SIGN_IN), await _sign_in_of_browser(request)
    if challenge is None or token is None:
        return redirect(request, f"{SIGN_IN}?note=no_cookie")
    if challenge.state is State.ACCEPTED:
        return await _finish(request, challenge)
    if challenge.state is State.CONSUMED:
        return redirect(request, SIGN_IN)
    return await challenge_page(request, challenge, token, base=_BY_SSH, again=_BY_SSH, passed=_BY_SSH)


async def _finish(request: Request, challenge: Challenge) -> Response:
    state = state_of(request)
    sign_in = partial(sign_in_by_ssh, state.store.database, state.sessions, challenge.id, state.clock())
    passed, session = await run_in_threadpool(partial(sign_in, **facts_of(request)))
    if passed is None:
        return redirect(request, SIGN_IN)  # another request of this browser was faster, or the result was cancelled
    state.changes.notify([passed])
    if session is None:
        sentence = N_("The owner of this key is no longer a user. Ask your administrator.")
        raise PageError(403, N_("Not signed in"), sentence)
    get_logger().info("session.started", user=session.user, method=session.method, challenge=challenge.id)
    response = await lead_on(request, session)
    cookies.clear(request, response, cookies.SSH_SIGN_IN)
    state.sign_in_throttle.ended(source_of_request(request), challenge.created_at)
    remember(request, response)
    return response


async def _sign_in_of_browser(request: Request) -> Challenge | None:
    """Returns the challenge of the sign-in that this browser began; None if there is none or it is long over.
    A challenge of a client never signs in here, even if its page token is in the cookie.
    """
    token = cookies.read(request, cookies.SSH_SIGN_IN)
    if token is None:
        return None
    state = state_of(request)
    found = await run_in_threadpool(state.store.challenges.of_page, token)
    if found is None or found.client is not None or not found.is_anonymous or found.context.app != MY_KEYS:
        return None
    return found if state.clock() < found.expires_at + RESULT_GRACE else None


def _sign_in_address(request: Request, _challenge: Challenge) -> str:
    return state_of(request).settings.base_path + SIGN_IN


ROUTES = [
    Route("/", sign_in, methods=["GET"]),
    Route("/account", sign_in, methods=["GET"]),
    Route(_BY_SSH, page, methods=["GET"]),
    Route(_BY_SSH, begin, methods=["POST"]),
    *challenge_routes(_BY_SSH, _sign_in_of_browser, _sign_in_address),
]
