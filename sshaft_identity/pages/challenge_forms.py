"""Adds to the page of a challenge its news and its forms: "This isn't me", "Cancel", and the short ssh command.

Each form needs the login itself: its secret address, or the cookie of the browser that began it.
"""

from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.common.language import N_, _
from sshaft_identity.web import cookies
from sshaft_identity.web.browsers import client_address, form_of
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.live import CHALLENGE, live_routes
from sshaft_identity.web.state import state_of

Find = Callable[[Request], Awaitable[Challenge | None]]
Leave = Callable[[Request, Challenge], str | None]
_HAS_ALIAS = "this-computer-has-the-alias"
_ALIAS_SECONDS = 400 * 24 * 3600
"""Browsers keep no cookie longer (RFC 6265bis §5.5)."""
NO_SUCH_LOGIN = (N_("No such login"), N_("This address belongs to no login, or to one that was long ago."))


def challenge_routes(path: str, find: Find, leave: Leave) -> list[Route]:
    """Returns the routes of a challenge's page at `path`, without the page itself.

    `find` returns the challenge that the request may see, or None. `leave` returns where "Cancel" leads: an address of
    the application or of this service; None: back to the page.
    """

    async def found(request: Request) -> Challenge:
        await form_of(request)
        challenge = await find(request)
        if challenge is None:
            raise PageError(404, *NO_SUCH_LOGIN)
        return challenge

    async def deny(request: Request) -> Response:
        challenge, state = await found(request), state_of(request)
        facts = {"reason": "not_me", "page_address": client_address(request)}
        denied = await run_in_threadpool(lambda: state.store.challenges.deny(challenge.id, state.clock(), **facts))
        if denied is not None:
            # A warning for the operator: somebody began a login under another person's name.
            get_logger().warning("challenge.rejected", challenge=denied.id, user=denied.user, **facts)
            state.changes.notify([denied])
        return redirect(request, _page_of(request))

    async def cancel(request: Request) -> Response:
        challenge, state = await found(request), state_of(request)
        facts = {"reason": "cancelled_in_browser", "page_address": client_address(request)}
        cancelled = await run_in_threadpool(lambda: state.store.challenges.cancel(challenge.id, state.clock(), **facts))
        if cancelled is not None:
            get_logger().info("challenge.cancelled", challenge=cancelled.id, user=cancelled.user, **facts)
            state.changes.notify([cancelled])
        address = leave(request, challenge)
        if cancelled is None or address is None:
            return redirect(request, _page_of(request))
        return _lead(request, address)

    return [
        Route(f"{path}/deny", deny, methods=["POST"]),
        Route(f"{path}/cancel", cancel, methods=["POST"]),
        Route(f"{path}/alias", choose_alias, methods=["POST"]),
        *live_routes(path, CHALLENGE, find),
    ]


async def choose_alias(request: Request) -> Response:
    """Remembers whether ssh has the alias on this computer, in a cookie that says nothing else."""
    form = await form_of(request)
    response = redirect(request, _page_of(request))
    if form.get("has") == "yes":
        cookies.write(request, response, cookies.ALIAS, _HAS_ALIAS, _ALIAS_SECONDS, "lax")
    else:
        cookies.clear(request, response, cookies.ALIAS)
    return response


def has_alias(request: Request) -> bool:
    """Whether the person has said in this browser that ssh has the alias."""
    return cookies.read(request, cookies.ALIAS) == _HAS_ALIAS


def _page_of(request: Request) -> str:
    return request.url.path.rpartition("/")[0]


def _lead(request: Request, address: str) -> Response:
    """Returns a page that leads on by itself. A redirect would fail: Chromium applies `form-action` to it, too."""
    sentence = _("You are led back to where you logged in.")
    return render(request, "said.html", title=_("Cancelled"), sentence=sentence, leads_to=address, keeps_opener=True)
