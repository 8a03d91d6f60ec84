"""Wraps every request: adds a request id and safe headers, and answers failures without any details."""

import re
import uuid

import structlog
from sqlalchemy.exc import DataError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sshaft import log
from sshaft.log import get_logger
from sshaft_identity.common.language import _
from sshaft_identity.database.database import UNAVAILABLE, reason
from sshaft_identity.web.html import render
from sshaft_identity.web.problem import problem


class EveryRequest:
    """Middleware. Every log event and every answer gets the request id. No answer holds a stack trace."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope).get("x-request-id"))
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            except ClientDisconnect:  # nobody reads an answer, and nothing was done
                return
            except UNAVAILABLE as error:
                get_logger().error("database.unavailable", reason=reason(error))
                failure = _unavailable(Request(scope))
            except DataError:  # the caller sent text that PostgreSQL cannot store, such as a NUL
                failure = problem("invalid_request")
            except Exception as error:  # noqa: BLE001 - the last handler: the answer says only that something failed
                log.fault("request.failed", error)
                failure = problem("internal")
            else:
                return
            if not started:
                await failure(scope, receive, send_with_headers)


def _unavailable(request: Request) -> Response:
    """Returns a page for a browser that wants one, and a problem for everybody else. After a GET the page loads itself
    again.
    """
    if "text/html" not in request.headers.get("accept", ""):
        return problem("unavailable", headers={"Retry-After": "1"})
    is_repeatable = request.method == "GET"
    sentence = (
        _("The service cannot reach its database now. This page loads itself again every few seconds.")
        if is_repeatable
        else _("The service cannot reach its database now. Go back and try again in a minute.")
    )
    page = render(request, "said.html", 503, title=_("Not available now"), sentence=sentence)
    page.headers.update({"Retry-After": "5"} | ({"Refresh": "5"} if is_repeatable else {}))
    return page


def request_id_of(header: str | None) -> str:
    """Returns the caller's id if it is well-formed, else a new id. One login is then found by one search."""
    if header is not None and re.fullmatch(r"[A-Za-z0-9._-]{8,64}", header):
        return header
    return uuid.uuid4().hex
