"""Serves the browser part of a login that an identity provider began: the page of the challenge, and the way back.

The login belongs to the browser that began it. The page token of the challenge is in a cookie of that browser, never
in an address. So a link to a login is useless to other people, and nobody can be led into a foreign login (login CSRF).
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft_identity.challenges.challenge import RESULT_GRACE, Challenge, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.common.language import N_, Filled
from sshaft_identity.face_support.face_requests import FaceRequest, FaceRequests, Returns, face_of
from sshaft_identity.pages.challenge import RETURN_LABELS, challenge_page
from sshaft_identity.pages.challenge_forms import challenge_routes
from sshaft_identity.web import cookies, logins, refused_requests
from sshaft_identity.web.call import Call
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.known_browsers import remember, source_of_request, too_many
from sshaft_identity.web.language import keep, of_parameter
from sshaft_identity.web.state import state_of

RETURN_LIFETIME = timedelta(seconds=60)
"""A browser may be led back to its application again this long after the first time, unless the code was redeemed."""
_COOKIE_PREFIX, _HOST_PREFIX = "sshaft-login-", "__Host-"
_MAX_TRIED = 8
"""The most cookies of a browser that are looked up."""
_RETURN_WORDS = {state: N_("Continue") if state == State.ACCEPTED else N_("Go back") for state in RETURN_LABELS}

Finish = Callable[[Call, Challenge], Response]
"""Leads the browser back to the provider with the result of the challenge. Runs in a thread."""


def begin_login(
    call: Call, face: str, wish: Wish, details: Mapping[str, Any], ui_locales: str | None = None
) -> Response:
    """Opens the challenge, stores `details` for `finish`, and sends the browser to the page of the login.

    `ui_locales`: the languages that the request wants for the pages (OpenID Connect Core 1.0 §3.1.2.1).
    """
    if wish.client is None:
        raise ValueError("a login in the browser needs a client")
    state = call.state
    now = state.clock()
    replaced = _check_throttle(call, now)
    opened = logins.open_login(call, wish)
    call.changed = [*call.changed, *replaced]
    challenge = opened.challenge
    FaceRequests(state.store.database, face).add(challenge.id, wish.client, details, now)
    response = redirect(call.request, f"/login/{challenge.id}")
    seconds = int((wish.lifetime + RESULT_GRACE).total_seconds())
    cookies.write(call.request, response, _cookie_name(challenge.id), opened.page_token, seconds, "lax")
    keep(call.request, response, of_parameter(state.languages, ui_locales))
    return response


def _check_throttle(call: Call, now: datetime) -> list[Challenge]:
    """Counts a login of this browser or address. If too many are open, the login replaces an open login of the same
    browser, so a person who logs in is not refused. Returns the replaced login. Without one raises `PageError`.
    """
    throttle, source = call.state.login_throttle, source_of_request(call.request)
    if throttle.allows(source, now):
        return []
    replaced = _cancel_open_login(call, now)
    for challenge in replaced:
        throttle.ended(source, challenge.created_at)
    if not throttle.allows(source, now):
        raise too_many(call.request, "logins", throttle.wait(source, now))
    return replaced


def _cancel_open_login(call: Call, now: datetime) -> list[Challenge]:
    """Cancels one open login of this browser, and returns it. Returns nothing if the browser has no open login."""
    challenges = call.state.store.challenges
    names = [name.removeprefix(_HOST_PREFIX) for name in call.request.cookies]
    for name in [each for each in names if each.startswith(_COOKIE_PREFIX)][:_MAX_TRIED]:
        found = challenges.of_page(cookies.read(call.request, name) or "")
        if found is not None and _cookie_name(found.id) == name and challenges.cancel(found.id, now):
            return [found]
    return []


async def page(request: Request) -> Response:
    """`GET /login/{id}`."""
    token, challenge = await _login_of_browser(request)
    if challenge is None:
        raise _no_such_login()
    here = f"/login/{challenge.id}"
    if challenge.state is State.CONSUMED:  # a reload, or the same login in another tab
        return redirect(request, f"{here}/finish")
    back = _finish_address(request, challenge)
    return await challenge_page(
        request, challenge, token, base=here, passed=f"{here}/finish", return_url=back, return_words=_RETURN_WORDS
    )


def _finish_address(request: Request, challenge: Challenge) -> str:
    return f"{state_of(request).settings.base_path}/login/{challenge.id}/finish"


def routes(finishes: Mapping[str, Finish]) -> list[Route]:
    """Returns the endpoints of a login in the browser. `finishes` has the `finish` of each face by its name."""

    async def finish(request: Request) -> Response:
        _, challenge = await _login_of_browser(request)
        if challenge is None:
            raise _no_such_login()
        state = state_of(request)
        if challenge.state_at(state.clock()) is State.PENDING:
            return redirect(request, f"/login/{challenge.id}")
        call = Call(request)
        response = await state.run_write(partial(_finish, call, challenge, finishes))
        if call.changed:  # the login has passed
            state.login_throttle.ended(source_of_request(request), challenge.created_at)
            remember(request, response)
        state.changes.notify(call.changed)
        return response

    async def find(request: Request) -> Challenge | None:
        return (await _login_of_browser(request))[1]

    return [
        Route("/login/{id}", page, methods=["GET"]),
        Route("/login/{id}/finish", finish, methods=["GET"]),
        *challenge_routes("/login/{id}", find, _finish_address),
    ]


def _finish(call: Call, challenge: Challenge, finishes: Mapping[str, Finish]) -> Response:
    face = face_of(call.state.store.database, challenge.id)
    if face is None or face not in finishes:
        raise _no_such_login()
    return finishes[face](call, challenge)


def request_of(call: Call, face: str, challenge: Challenge) -> FaceRequest:
    """Returns the stored request of the login, and notes its client as the caller. Raises `PageError`."""
    request = FaceRequests(call.state.store.database, face).get(challenge.id)
    if request is None:
        raise already_finished()
    call.caller = request.client_id
    return request


def take_result(call: Call, challenge: Challenge, now: datetime) -> Challenge | None:
    """Takes the result of the login and returns the passed challenge. Returns None if the login did not pass.

    The same browser may ask again within `RETURN_LIFETIME`: the application may have been slow, and the person may
    have reloaded the page. Raises `PageError` afterwards, or if the application has redeemed the code.
    """
    if challenge.state_at(now) not in (State.ACCEPTED, State.CONSUMED):
        return None
    returns = Returns(call.state.store.database)
    if challenge.state is State.ACCEPTED:
        returns.begin(challenge.id, now + RETURN_LIFETIME)  # first: a second click may come before `consume` returns
        if after := logins.consume(call, challenge.id, challenge.client):
            return after
    consumed = call.state.store.challenges.get(challenge.id)
    if consumed is None or consumed.state is not State.CONSUMED or not returns.may_repeat(challenge.id, now):
        raise already_finished()
    return consumed


def failure_reason(challenge: Challenge, now: datetime) -> str:
    """Returns the reason why the login did not pass, for the provider."""
    match challenge.state_at(now):
        case State.REJECTED:
            return "the person denied the login, or entered too many wrong codes"
        case State.EXPIRED:
            return "no SSH login passed in time"
        case State.CANCELLED:
            return "the login was cancelled, or a newer login replaced it"
        case _:
            return "the login did not pass"


def form_post(call: Call, redirect_uri: str, values: Mapping[str, str]) -> Response:
    """Returns a page that posts the values by itself (OAuth 2.0 Form Post Response Mode).

    The page has no `form-action`: Chromium applies this directive to the redirects that follow the form, too, and the
    application may redirect anywhere.
    """
    return render(
        call.request, "form_post.html", action=redirect_uri, values=values, form_action=None, keeps_opener=True
    )


def untrusted_request(call: Call, face: str, reason: str) -> PageError:
    """Records a request whose return address cannot be trusted. Returns the page that tells the person the reason."""
    refused_requests.note(call, face, "invalid_request", reason)
    sentence = N_("The application that sent you here is not set up correctly: {reason}. Tell its administrator.")
    return PageError(400, N_("This login cannot begin"), Filled(sentence, reason=reason))


def already_finished() -> PageError:
    return PageError(
        410, N_("Login already finished"), N_("This login is finished. To log in again, start a new login.")
    )


def _no_such_login() -> PageError:
    sentence = N_(
        "This browser has no open login here. Start the login again, and use the same browser until its end. The "
        "browser must accept our cookie, which needs https."
    )
    return PageError(404, N_("No such login"), sentence)


async def _login_of_browser(request: Request) -> tuple[str, Challenge | None]:
    """Returns the page token and the login at this address. The login is None if another browser began it, or if
    `RESULT_GRACE` is over.
    """
    identifier, state = request.path_params["id"], state_of(request)
    token = cookies.read(request, _cookie_name(identifier)) or ""
    found = await run_in_threadpool(state.store.challenges.of_page, token) if token else None
    if found is None or found.id != identifier or state.clock() >= found.expires_at + RESULT_GRACE:
        return token, None
    return token, found


def _cookie_name(identifier: str) -> str:
    """Returns a name for each login: a person may have two logins in two tabs."""
    return f"{_COOKIE_PREFIX}{identifier[:16]}"
