"""Whether the service lives, whether it is ready, and the keys to check what it signs: what machines ask unasked."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.errors import SshaftError
from sshaft.log import get_logger
from sshaft_identity.api.answers import Status
from sshaft_identity.web.problem import problem
from sshaft_identity.web.state import AppState, state_of


async def healthz(_request: Request) -> Response:
    """The process answers. Nothing else is looked at: to start it again would not bring a database back."""
    return Status(status="ok").response()


async def readyz(request: Request) -> Response:
    """It can do its work: the database is there and of this version, and there are the keys to sign with."""
    try:
        missing = await run_in_threadpool(_missing, state_of(request))
    except SshaftError as error:
        get_logger().warning("identity.not_ready", reason=str(error))
        missing = {"database": "the database cannot be used", "configuration": "the set-up is not complete"}[error.code]
    if missing is not None:
        return problem("unavailable", detail=missing, headers={"Retry-After": "1"})
    return Status(status="ready").response()


def _missing(state: AppState) -> str | None:
    state.store.database.check()
    return None if state.store.signing_keys.check(state.clock()) else "no signing key"


ROUTES = [
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
]
