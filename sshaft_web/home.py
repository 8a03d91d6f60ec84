"""Answers with the pages, and with the files that they load."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft_web.browsers import RefusedError, session_or_none, to_public_url
from sshaft_web.pages.html import Host
from sshaft_web.state import state_of


async def home(request: Request) -> Response:
    """Shows the hosts and the terminals, or the button to sign in."""
    if elsewhere := to_public_url(request, "/"):
        return elsewhere
    session, state = session_or_none(request), state_of(request)
    if session is None:
        return state.pages.sign_in(state.settings.provider.label)
    targets = state.terminals.targets.values()
    hosts = [Host(each.name, each.title, asks_user=each.service is None) for each in targets]
    return state.pages.terminals(session.person.name, hosts)


async def healthz(_request: Request) -> Response:
    """Answers supervisors and proxies as long as the process runs. It asks nobody else: a restart would not help."""
    return Response("ok\n", media_type="text/plain")


async def static(request: Request) -> Response:
    return await state_of(request).files.answer(request)


def refused(request: Request, error: RefusedError) -> Response:
    """Returns the page that says why a request was refused."""
    return state_of(request).pages.said(error.status, error.title, str(error))


ROUTES = [
    Route("/", home, methods=["GET"]),
    Route("/healthz", healthz, methods=["GET"]),
    Route("/static/{path:path}", static, methods=["GET"]),
]
