"""Finds the client of a request that came through trusted proxies."""

from collections.abc import Iterable
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_UNIX = "unix"
"""Stands for the peer at a UNIX socket, which has no address."""


def with_client(app: ASGIApp, trusted: Iterable[str]) -> ASGIApp:
    """Returns the application behind trusted proxies, which name the client. A peer at the UNIX socket is a proxy."""
    behind = ProxyHeadersMiddleware(cast("Any", app), [*trusted, _UNIX])

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        scope["client"] = scope["client"] or (_UNIX, 0)
        await behind(cast("Any", scope), cast("Any", receive), cast("Any", send))

    return answer
