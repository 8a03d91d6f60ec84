"""Measures the requests of the service, and answers Prometheus at `/metrics` on the main port."""

import hmac
import time
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sshaft.daemon import metrics as exposition
from sshaft.errors import ConfigurationError
from sshaft_identity.service.metrics import Metrics
from sshaft_identity.settings import read_secret
from sshaft_identity.web.problem import problem

_NO_ROUTE = "none"
_MIN_TOKEN_LENGTH = 16


class MeasureRequests:
    """Middleware that counts every request under the path template of its route. The path itself is never a label."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: list[BaseRoute]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route, started, status = self._path_template(scope), time.monotonic(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.request_began(route)
        try:
            await self._app(scope, receive, note_status)
        finally:
            self._metrics.request_ended(route, scope["method"], status, time.monotonic() - started)

    def _path_template(self, scope: Scope) -> str:
        for route in self._routes:
            if route.matches(scope)[0] is not Match.NONE:
                return str(getattr(route, "path", _NO_ROUTE))
        return _NO_ROUTE


def metrics_route(metrics: Metrics, token: str) -> Route:
    """Returns the route of `/metrics`. It answers requests that send `token` as a bearer token (RFC 6750 §2.1)."""

    async def answer(request: Request) -> Response:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(), token.encode())
        if kind.lower() != "bearer" or not is_right:
            return problem("invalid_token", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        accept = request.headers.get("accept", "")
        body, media_type = await run_in_threadpool(exposition.scrape, metrics.registry, accept)
        return Response(body, headers={"Content-Type": media_type})

    return Route(exposition.PATH, answer, methods=["GET"])


def read_token(path: Path) -> str:
    """Returns the token in the file. Raises `ConfigurationError` if it cannot be read or is too short."""
    token = read_secret(path, str(path))
    if len(token) < _MIN_TOKEN_LENGTH or not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigurationError(
            f"{path} must hold one token of {_MIN_TOKEN_LENGTH} characters or more: openssl rand -hex 16"
        )
    return token
