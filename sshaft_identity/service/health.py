"""Answers the health checks of a supervisor or a proxy: `/healthz` and `/readyz`."""

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from sshaft.errors import SshaftError
from sshaft.log import get_logger
from sshaft_identity.api.answers import Status
from sshaft_identity.web.problem import problem
from sshaft_identity.web.state import AppState, state_of


async def healthz(_request: Request) -> Response:
    """Answers as long as the process runs. A restart would not repair the database, so the database is not checked."""
    return Status(status="ok").response()


async def readyz(request: Request) -> Response:
    """Answers 200 if the database has the schema of this version and there are keys to sign with, else 503."""
    try:
        fault = await run_in_threadpool(_fault, state_of(request))
    except SshaftError as error:
        get_logger().warning("identity.not_ready", reason=str(error))
        fault = {"database": "the database cannot be used", "configuration": "the set-up is not complete"}[error.code]
    if fault is not None:
        return problem("unavailable", detail=fault, headers={"Retry-After": "1"})
    return Status(status="ready").response()


def _fault(state: AppState) -> str | None:
    state.store.database.check()
    return None if state.store.signing_keys.check(state.clock()) else "no signing key"


async def readiness(app: Starlette) -> int:
    """Returns the status of `/readyz` of an application that no server runs."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    host = [(b"host", b"localhost")]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
             "path": "/readyz", "raw_path": b"/readyz", "query_string": b"", "root_path": "", "headers": host,
             "client": ("127.0.0.1", 0), "server": ("localhost", 80)}  # fmt: skip
    await app(scope, receive, send)
    return int(sent[0]["status"])


ROUTES = [
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
]
