"""Answers every request: finds its endpoint, turns refusals and failures into JSON, and adds headers."""

import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sshaft import log
from sshaft.errors import ReachError
from sshaft.log import get_logger
from sshaft_host_api import pages, refusals
from sshaft_host_api.agent import Agent
from sshaft_host_api.call import Call
from sshaft_host_api.endpoints import ENDPOINTS
from sshaft_host_api.refusals import RefusedError

_LOG_SECONDS = 10.0
_SAFE = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
_CROSS_ORIGIN = [(b"access-control-allow-origin", b"*")]
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Accept, Authorization",
    "Access-Control-Max-Age": "600",
}


class App:
    """The API as an ASGI application. With `cross_origin`, the pages of other web sites may read its answers.

    `statement` is the HTML of /privacy.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        cross_origin: bool = True,
        statement: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.agent = agent
        self._headers = [*_SAFE, *(_CROSS_ORIGIN if cross_origin else [])]
        self._cross_origin = cross_origin
        self._clock = clock
        self._next_log = 0.0
        self._outages = 0
        self._endpoints = {**ENDPOINTS, "/privacy": pages.privacy(statement)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Call.of(scope))
        response.raw_headers += self._headers
        await response(scope, receive, send)

    async def _answer(self, call: Call) -> Response:
        try:
            return await self._endpoint(call)
        except RefusedError as error:
            return error.response()
        except ReachError as error:
            self._log_outage(str(error))
            return refusals.unavailable().response()
        except Exception as error:  # noqa: BLE001 - the last handler: the answer says only that something failed
            log.fault("request.failed", error)
            return refusals.something_went_wrong().response()

    def _log_outage(self, message: str) -> None:
        """Logs that the agent is away, at most once in some seconds: anybody can send requests."""
        self._outages += 1
        if self._clock() >= self._next_log:
            get_logger().error("agent.unavailable", message=message, requests=self._outages)
            self._next_log, self._outages = self._clock() + _LOG_SECONDS, 0

    async def _endpoint(self, call: Call) -> Response:
        endpoint = self._endpoints.get(call.path)
        if endpoint is None:
            raise refusals.not_found()
        if call.method == "OPTIONS" and self._cross_origin:
            return Response(status_code=204, headers=_PREFLIGHT)
        if call.method != "GET":
            raise refusals.method_not_allowed()
        return await endpoint(call, self.agent)
