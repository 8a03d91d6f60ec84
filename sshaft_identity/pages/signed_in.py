"""Finds and begins the session of a signed-in person, for the pages of "My keys"."""

from datetime import timedelta
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sshaft_identity.audit.log import Fact
from sshaft_identity.common.language import N_
from sshaft_identity.enrolment.revocation import Ended
from sshaft_identity.pages.wanted import remember_wanted, wanted
from sshaft_identity.people.roles import Role
from sshaft_identity.people.sessions import Proof, Session
from sshaft_identity.web import cookies
from sshaft_identity.web.browsers import browser_name, client_address, form_of, user_agent
from sshaft_identity.web.html import PageError, redirect
from sshaft_identity.web.state import AppState, state_of

KEYS, HOSTS, ACTIVITY, SIGN_IN = "/account/keys", "/account/hosts", "/account/activity", "/"
APPROVE = "/approve"


class NotSignedInError(Exception):
    """Ends a request without a valid session. The answer is a redirect to the sign-in."""


async def session_of(request: Request) -> Session | None:
    token = cookies.read(request, cookies.SESSION)
    if token is None:
        return None
    state = state_of(request)
    return await run_in_threadpool(state.sessions.of_token, token, state.clock())


async def signed_in(request: Request) -> Session:
    """Returns the session. Raises `NotSignedInError` without one."""
    session = await session_of(request)
    if session is None:
        raise NotSignedInError
    return session


async def role_of(request: Request, session: Session, *, however_old: bool = False) -> Role | None:
    """Returns the role of the person at the help desk. The settings and the user of this moment decide, each time.

    Groups count for `desk.groups_seconds`. `however_old`: longer, so the role may be one that the person has lost.
    """
    state = state_of(request)
    desk, provider = state.settings.desk, state.settings.oidc
    user_id = await run_in_threadpool(state.store.users.id_of, session.user) if desk.is_on else None
    if user_id is None:
        return None
    is_of_provider = provider is not None and session.issuer == provider.issuer
    age = state.clock() - session.authenticated_at
    counts = is_of_provider and (however_old or age < timedelta(seconds=desk.groups_seconds))
    return desk.role_of(user_id, session.groups if counts else ())


async def account_values(request: Request, session: Session, here: str) -> dict[str, Any]:
    """Returns the values that every page of the account needs. `desk`: whether to link to the help desk."""
    desk = await role_of(request, session, however_old=True) is not None
    return {"user": session.user, "form_token": session.form_token, "here": here, "desk": desk}


async def answer_not_signed_in(request: Request, _error: Exception) -> Response:
    response = redirect(request, f"{SIGN_IN}?note=nobody")
    remember_wanted(request, response)
    return response


async def session_and_form(request: Request) -> tuple[Session, dict[str, str]]:
    """Returns the session and the form. Raises `PageError` if the form is not from a page of this session."""
    form = await form_of(request)
    session = await signed_in(request)
    if not session.owns(form.get("form_token", "")):
        raise PageError(403, N_("Not from here"), N_("This form is of another sign-in. Open the page again and retry."))
    return session, form


async def begin_session(request: Request, user: str, proof: Proof) -> Response | None:
    """Starts a session and returns a redirect to the page that was wanted; None if there is no such user."""
    state = state_of(request)
    start = partial(state.sessions.start, user, proof, state.clock(), **facts_of(request))
    session = await run_in_threadpool(start)
    return None if session is None else await lead_on(request, session)


async def lead_on(request: Request, session: Session) -> Response:
    """Returns a redirect that gives the browser the new session and ends its session before.

    It leads to the page that the person wanted before the sign-in, such as that of an approval, or to the keys.
    """
    state, before = state_of(request), await session_of(request)
    if before is not None:
        end = state.store.revocation.end_session
        tell(state, await run_in_threadpool(end, before, state.clock(), reason="signed_in_anew", **facts_of(request)))
    page = wanted(request)
    response = redirect(request, page or KEYS)
    if page:
        cookies.clear(request, response, cookies.WANTED)
    cookies.write(request, response, cookies.SESSION, session.token, state.settings.sessions.longest, "lax")
    return response


def tell(state: AppState, ended: Ended) -> None:
    """Gives news to the pages of everything that ended."""
    for identifier in ended.ids:
        state.changes.wake(identifier)


def facts_of(request: Request) -> dict[str, Fact]:
    """Returns the browser's address and name, for the audit log."""
    return {"browser_address": client_address(request), "browser": browser_name(user_agent(request))}
