"""Who is signed in: what every page of "my keys" asks first."""

from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sshaft_identity.audit.log import Fact
from sshaft_identity.people.sessions import Method, Session
from sshaft_identity.web import cookies
from sshaft_identity.web.browsers import browser_name, client_address, form_of, user_agent
from sshaft_identity.web.html import PageError, redirect
from sshaft_identity.web.state import state_of

KEYS, ACTIVITY, SIGN_IN = "/account/keys", "/account/activity", "/"


class NobodyError(Exception):
    """No session, or not any more: ends a request with the way to sign in."""


async def session_of(request: Request) -> Session | None:
    token = cookies.read(request, cookies.SESSION)
    if token is None:
        return None
    state = state_of(request)
    return await run_in_threadpool(state.sessions.of_token, token, state.clock())


async def signed_in(request: Request) -> Session:
    """Raises `NobodyError`."""
    session = await session_of(request)
    if session is None:
        raise NobodyError
    return session


async def answer_nobody(request: Request, _error: Exception) -> Response:
    return redirect(request, f"{SIGN_IN}?note=nobody")


async def sent_by(request: Request) -> tuple[Session, dict[str, str]]:
    """A form of the one who is signed in, from a page of this very session. Raises `PageError` for every other."""
    form = await form_of(request)
    session = await signed_in(request)
    if not session.owns(form.get("form_token", "")):
        raise PageError(403, "Not from here", "This form is of another sign-in. Open the page again and retry.")
    return session, form


async def begin_session(
    request: Request, user: str, method: Method, authenticated_at: datetime | None = None
) -> Response | None:
    """The answer that signs the browser in and shows its keys; None if there is no such user."""
    state, facts = state_of(request), facts_of(request)
    now = state.clock()
    before = await session_of(request)
    proved_at = authenticated_at or now
    session = await run_in_threadpool(state.sessions.start, user, method, now, authenticated_at=proved_at, **facts)
    if session is None:
        return None
    if before is not None:  # another token for another sign-in, and the old one is worth nothing
        await run_in_threadpool(state.sessions.end, before, now, reason="signed_in_anew", **facts)
    response = redirect(request, KEYS)
    cookies.write(request, response, cookies.SESSION, session.token, state.settings.sessions.longest, "lax")
    return response


def facts_of(request: Request) -> dict[str, Fact]:
    """Where a change comes from, for the audit log."""
    return {"browser_address": client_address(request), "browser": browser_name(user_agent(request))}
