"""Confirms the session of a member by an SSH login of the same person. Changes need such a login within ten minutes.

The page token of the challenge is in no URL, only in a cookie of the browser that began.
"""

import re
from datetime import timedelta

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import RESULT_GRACE, Challenge, Context, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.challenges.sign_in import confirm_by_ssh
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.desk.access import DESK, Member, member_of
from sshaft_identity.pages.challenge import challenge_page
from sshaft_identity.pages.challenge_forms import challenge_routes
from sshaft_identity.pages.words import DESK_PASS
from sshaft_identity.web import cookies, logins
from sshaft_identity.web.browsers import client_address, form_of, user_agent
from sshaft_identity.web.call import Call
from sshaft_identity.web.html import redirect
from sshaft_identity.web.state import state_of

NOBODY = "-"
"""Stands in the path for no person. No id begins with it."""
_PATH = f"{DESK}/confirm/{{person}}"


async def answer_no_fresh_pass(request: Request, _error: Exception) -> Response:
    """Leads back to the page that asks for an SSH login."""
    return redirect(request, f"{_back(request)}?note=confirm")


async def begin(request: Request) -> Response:
    """Opens the challenge. A form of another site cannot come here, and to begin changes nothing."""
    member = await member_of(request)
    await form_of(request)
    state, context = state_of(request), Context(DESK_PASS, client_address(request), user_agent(request))
    wish = Wish(member.name, timedelta(seconds=state.settings.lifetime), context=context)
    call = Call(request)
    opened = await run_in_threadpool(logins.open_login, call, wish)
    state.changes.notify(call.changed)
    response = redirect(request, _here(request))
    seconds = state.settings.lifetime + int(RESULT_GRACE.total_seconds())
    cookies.write(request, response, cookies.DESK_PASS, opened.page_token, seconds, "strict")
    return response


async def page(request: Request) -> Response:
    """Shows the challenge of this browser. After the SSH login, confirms the session, once."""
    member = await member_of(request)
    token, challenge = cookies.read(request, cookies.DESK_PASS), await _challenge_of(request, member)
    if challenge is None or token is None:
        return redirect(request, f"{_back(request)}?note=no_cookie")
    if challenge.state is State.ACCEPTED:
        return await _finish(request, member, challenge)
    if challenge.state is State.CONSUMED:
        return redirect(request, _back(request))
    here = _here(request)
    return await challenge_page(request, challenge, token, base=here, again=here, passed=here)


async def _finish(request: Request, member: Member, challenge: Challenge) -> Response:
    state = state_of(request)
    passed, is_confirmed = await run_in_threadpool(
        confirm_by_ssh, state.store.database, member.session, challenge.id, state.clock()
    )
    if passed is not None:
        state.changes.notify([passed])
    get_logger().info("desk.confirmed", actor=member.name, challenge=challenge.id, done=is_confirmed)
    response = redirect(request, f"{_back(request)}?note={'confirmed' if is_confirmed else 'no_cookie'}")
    cookies.clear(request, response, cookies.DESK_PASS)
    return response


async def _challenge_of(request: Request, member: Member) -> Challenge | None:
    """Returns the challenge that this browser began for its own person, or None."""
    token = cookies.read(request, cookies.DESK_PASS)
    if token is None:
        return None
    found = await run_in_threadpool(state_of(request).store.challenges.of_page, token)
    if found is None or found.client is not None or found.user != member.name or found.context.app != DESK_PASS:
        return None
    return found


async def _challenge(request: Request) -> Challenge | None:
    return await _challenge_of(request, await member_of(request))


def _person(request: Request) -> str:
    """Returns the id in the path. A text that is no id never becomes part of an address that the browser is sent to."""
    given = request.path_params.get("person", NOBODY)
    return given if re.fullmatch(USER_PATTERN, given) else NOBODY


def _here(request: Request) -> str:
    return f"{DESK}/confirm/{_person(request)}"


def _back(request: Request) -> str:
    return DESK if _person(request) == NOBODY else f"{DESK}/people/{_person(request)}"


ROUTES = [
    Route(_PATH, page, methods=["GET"]),
    Route(_PATH, begin, methods=["POST"]),
    *challenge_routes(_PATH, _challenge, lambda request, _: state_of(request).settings.base_path + _back(request)),
]
