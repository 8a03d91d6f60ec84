"""Sign-in to "my keys" by SSH, the product's own factor: a challenge that names nobody; who brings its code is in.

The challenge belongs to the browser that opened it. Its page token stands in no address, only in a cookie of that
browser: who sends somebody a link to a sign-in of his own (login CSRF), or sees a link, gets nothing by it.
"""

from datetime import timedelta

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import Challenge, Context, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.pages.challenge import challenge_page
from sshaft_identity.pages.signed_in import KEYS, SIGN_IN, begin_session, session_of
from sshaft_identity.people.sessions import Method
from sshaft_identity.web import cookies, logins
from sshaft_identity.web.browsers import client_address, form_of, user_agent
from sshaft_identity.web.call import Call
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.live import live_routes
from sshaft_identity.web.state import state_of

APP = "My keys"
BY_SSH = "/sign-in/ssh"
GRACE = timedelta(minutes=1)
"""For the browser to come for what ssh has passed in the last moment, or to say that it was too late."""
NOTES = {
    "again": "For this you have to sign in anew: adding or removing a key asks for a fresh login.",
    "nobody": "You are not signed in, or not any more.",
    "signed_out": "You are signed out.",
    "everywhere": "You are signed out in every browser.",
    "no_cookie": "No sign-in of this browser is waiting. It needs a cookie of ours, which is kept over https only.",
}


async def sign_in(request: Request) -> Response:
    """The way in, or the keys for who is in already. `?note=` says why one is here."""
    note = NOTES.get(request.query_params.get("note", ""))
    again = request.query_params.get("note") == "again"
    if not again and await session_of(request) is not None:
        return redirect(request, KEYS)
    provider = state_of(request).settings.oidc
    label = None if provider is None else provider.label
    return render(request, "sign_in.html", note=note, provider=label, again=again)


async def begin(request: Request) -> Response:
    await form_of(request)
    state, address = state_of(request), client_address(request)
    now = state.clock()
    check_throttle(request)
    if before := await _own(request):
        await run_in_threadpool(state.store.challenges.cancel, before.id, now)
        state.changes.notify([before])
    wish = Wish(None, timedelta(seconds=state.settings.lifetime), context=Context(APP, address, user_agent(request)))
    opened = await run_in_threadpool(logins.open_login, Call(request), wish)
    response, seconds = redirect(request, BY_SSH), state.settings.lifetime + int(GRACE.total_seconds())
    cookies.write(request, response, cookies.SSH_SIGN_IN, opened.page_token, seconds, "strict")
    return response


def check_throttle(request: Request) -> None:
    """Raises `PageError`."""
    state = state_of(request)
    if not state.sign_in_throttle.allows(client_address(request), state.clock()):
        raise PageError(429, "One at a time", "Too many sign-ins were begun from where you are. Wait five minutes.")


async def page(request: Request) -> Response:
    """The challenge's page for this browser; once passed, its key's owner is signed in, exactly once."""
    token, challenge = cookies.read(request, cookies.SSH_SIGN_IN), await _own(request)
    if challenge is None or token is None:
        return redirect(request, f"{SIGN_IN}?note=no_cookie")
    if challenge.state is State.ACCEPTED:
        return await _passed(request, challenge)
    if challenge.state is State.CONSUMED:
        return redirect(request, SIGN_IN)
    return await challenge_page(request, challenge, token, base=BY_SSH, again=BY_SSH, passed=BY_SSH)


async def _passed(request: Request, challenge: Challenge) -> Response:
    state = state_of(request)
    call = Call(request)
    if not await run_in_threadpool(logins.consume, call, challenge.id, None):
        return redirect(request, SIGN_IN)  # another request of this browser was faster
    state.changes.notify(call.changed)
    response, approval = None, challenge.approval
    if challenge.user is not None and approval is not None:
        # how fresh the sign-in is counts from the ssh on, not from when the browser came for it
        response = await begin_session(request, challenge.user, Method.SSH, approval.accepted_at)
    if response is None:
        raise PageError(403, "Not signed in", "The owner of that key is no user any more. Ask your administrator.")
    get_logger().info("session.started", user=challenge.user, method=Method.SSH, challenge=challenge.id)
    cookies.clear(request, response, cookies.SSH_SIGN_IN)
    return response


async def _own(request: Request) -> Challenge | None:
    """The sign-in that this browser has begun, until shortly after its time. No client's challenge ever signs in here,
    whatever a cookie says.
    """
    token = cookies.read(request, cookies.SSH_SIGN_IN)
    if token is None:
        return None
    state = state_of(request)
    found = await run_in_threadpool(state.store.challenges.of_page, token)
    if found is None or found.client is not None or not found.is_anonymous or found.context.app != APP:
        return None
    return found if state.clock() < found.expires_at + GRACE else None


ROUTES = [
    Route("/", sign_in, methods=["GET"]),
    Route("/account", sign_in, methods=["GET"]),
    Route(BY_SSH, page, methods=["GET"]),
    Route(BY_SSH, begin, methods=["POST"]),
    *live_routes(BY_SSH, _own),
]
