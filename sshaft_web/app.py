"""Puts the routes together, adds safe headers to every answer, and answers failures without any details."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sshaft import log
from sshaft_web import api, back_channel, home, sign_in, websocket
from sshaft_web.browsers import RefusedError
from sshaft_web.files import endpoints as files
from sshaft_web.files.errors import FileError
from sshaft_web.state import AppState


def new_app(state: AppState, more: Sequence[BaseRoute] = ()) -> ASGIApp:
    """Returns the application. `more` are routes of other parts."""
    routes = [*home.ROUTES, *sign_in.ROUTES, *back_channel.ROUTES, *api.ROUTES, *websocket.ROUTES, *files.ROUTES, *more]
    handlers = {RefusedError: _refused, FileError: files.refused, 404: _unknown}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.sshaft = state
    return EveryRequest(app)


async def _refused(request: Request, error: Exception) -> Response:
    """Answers programs with JSON, and people with a page."""
    assert isinstance(error, RefusedError)  # noqa: S101 - narrows the type of Starlette's signature
    if request.url.path.startswith(("/api/", "/terminals/")):
        return error.as_json()
    return home.refused(request, error)


async def _unknown(request: Request, _error: Exception) -> Response:
    """Answers a request for an address that is no page."""
    return await _refused(request, RefusedError(404, "not_found", "There is no such page. Look at the address."))


class EveryRequest:
    """Middleware: safe headers, and an answer to each failure."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
                headers.setdefault("Referrer-Policy", "same-origin")
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:  # nobody reads an answer
            return
        except Exception as error:  # noqa: BLE001 - the last handler: the answer says only that something failed
            log.fault("request.failed", error)
            if scope["type"] == "http" and not started:
                failure = RefusedError(500, "internal", "Something went wrong. Try again.")
                await failure.as_json()(scope, receive, send_with_headers)
