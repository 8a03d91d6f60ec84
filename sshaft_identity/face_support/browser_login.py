"""The browser's part of a login that an identity provider has sent to us: the page of the challenge, and the way back.

The login belongs to the browser that began it: the challenge's page token stands in no address, only in a cookie of
that browser. Who sends somebody a link to a login of his own (login CSRF), or sees a link, gets nothing by it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft_identity.challenges.challenge import Challenge, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.common.addresses import origin_of
from sshaft_identity.face_support.face_requests import FaceRequests, face_of
from sshaft_identity.pages.challenge import RETURN_LABELS, challenge_page
from sshaft_identity.web import cookies, logins, refused_requests
from sshaft_identity.web.call import Call
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.live import live_routes
from sshaft_identity.web.state import state_of

GRACE = timedelta(minutes=1)
"""For the browser to come for what ssh has passed in the last moment, or to say that it was too late."""
WORDS = {state: "Continue" if state == State.ACCEPTED else "Go back" for state in RETURN_LABELS}

Finish = Callable[[Call, Challenge], Response]
"""Leads the browser back to who sent it, with what the challenge came to; in a thread."""


def begin(call: Call, face: str, wish: Wish, details: Mapping[str, Any]) -> Response:
    """Open the challenge, and send the browser to its page."""
    if wish.client is None:
        raise ValueError("a login of this kind is some client's")
    state = call.state
    now = state.clock()
    if not state.login_throttle.allows(wish.context.ip, now):
        raise PageError(429, "Too many logins", "Too many logins were begun from where you are. Wait five minutes.")
    opened = logins.open_login(call, wish)
    challenge = opened.challenge
    FaceRequests(state.store.database, face).add(challenge.id, wish.client, details, now)
    response = redirect(call.request, f"/login/{challenge.id}")
    seconds = int((wish.lifetime + GRACE).total_seconds())
    cookies.write(call.request, response, _cookie(challenge.id), opened.page_token, seconds, "lax")
    return response


async def page(request: Request) -> Response:
    token, challenge = await _own(request)
    if challenge is None:
        raise _unknown()
    if challenge.state is State.CONSUMED:
        raise used()
    here = f"/login/{challenge.id}"
    back = f"{state_of(request).settings.base_path}{here}/finish"
    return await challenge_page(
        request, challenge, token, base=here, passed=f"{here}/finish", return_url=back, return_words=WORDS
    )


def routes(finishes: Mapping[str, Finish]) -> list[Route]:
    """Returns the endpoints of a login in the browser. `finishes`: for each face, what leads the browser back."""

    async def finish(request: Request) -> Response:
        _, challenge = await _own(request)
        if challenge is None:
            raise _unknown()
        state = state_of(request)
        if challenge.state_at(state.clock()) is State.PENDING:
            return redirect(request, f"/login/{challenge.id}")
        call = Call(request)
        response = await state.run_write(partial(_finish, call, challenge, finishes))
        state.changes.notify(call.changed)
        return response

    async def find(request: Request) -> Challenge | None:
        return (await _own(request))[1]

    return [
        Route("/login/{id}", page, methods=["GET"]),
        Route("/login/{id}/finish", finish, methods=["GET"]),
        *live_routes("/login/{id}", find),
    ]


def _finish(call: Call, challenge: Challenge, finishes: Mapping[str, Finish]) -> Response:
    face = face_of(call.state.store.database, challenge.id)
    if face is None or face not in finishes:
        raise _unknown()
    return finishes[face](call, challenge)


def taken(call: Call, challenge: Challenge, now: datetime) -> Challenge | None:
    """The passed challenge, now that its client takes the result: once. None: it did not pass. Raises `PageError` when
    it was taken before.
    """
    match challenge.state_at(now):
        case State.ACCEPTED:
            if after := logins.consume(call, challenge.id, challenge.client):
                return after
            raise used()
        case State.CONSUMED:
            raise used()
        case _:
            return None


def reason(challenge: Challenge, now: datetime) -> str:
    """Why it did not pass, for the other side."""
    match challenge.state_at(now):
        case State.REJECTED:
            return "the person has denied the login, or too many wrong codes came"
        case State.EXPIRED:
            return "nobody came by SSH in time"
        case State.CANCELLED:
            return "a newer login took its place"
        case _:
            return "the login did not pass"


def post_back(call: Call, redirect_uri: str, values: Mapping[str, str], *, sends_to: str | None = None) -> Response:
    """A page that sends the values by itself (OAuth 2.0 Form Post Response Mode). `sends_to`: where that may lead, if
    not to pages of the same origin only: some browsers hold redirects that follow against it.
    """
    allowed = sends_to or origin_of(redirect_uri)
    return render(call.request, "form_post.html", action=redirect_uri, values=values, form_action=allowed)


def misled(call: Call, face: str, reason: str) -> PageError:
    """For a request that cannot be trusted to say where its answer belongs: a person reads why it ends here."""
    refused_requests.note(call, face, "invalid_request", reason)
    sentence = f"Whoever sent you here is not set up rightly: {reason}. Tell the administrator of what you log in to."
    return PageError(400, "This login cannot begin", sentence)


def used() -> PageError:
    return PageError(410, "Gone on already", "This login has gone on already. To log in again, start it anew.")


def _unknown() -> PageError:
    sentence = (
        "No login of this browser is waiting here. Start it again, and stay in the one browser; it needs a cookie of "
        "ours, which is kept over https only."
    )
    return PageError(404, "No such login", sentence)


async def _own(request: Request) -> tuple[str, Challenge | None]:
    """The login of this address, if this browser has begun it, until shortly after its time."""
    identifier, state = request.path_params["id"], state_of(request)
    token = cookies.read(request, _cookie(identifier)) or ""
    found = await run_in_threadpool(state.store.challenges.of_page, token) if token else None
    if found is None or found.id != identifier or state.clock() >= found.expires_at + GRACE:
        return token, None
    return token, found


def _cookie(identifier: str) -> str:
    """One for each login: who begins two in two tabs can end both."""
    return f"sshaft-login-{identifier[:16]}"
