"""Writes results and errors as the API of privacyIDEA does: as JSON-RPC objects with `result` and `detail`."""

from functools import wraps
from typing import Any

from starlette.responses import JSONResponse, Response

import sshaft
from sshaft_identity.faces.privacyidea.options import NAME
from sshaft_identity.web import refused_requests
from sshaft_identity.web.call import Call, Work
from sshaft_identity.web.oauth import OAuthError

_UNAUTHENTICATED = 4031
_INVALID_PARAMETER = 905


class ApiError(Exception):
    """A refusal with an HTTP status and an error code of this API."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def invalid_parameter(message: str) -> ApiError:
    return ApiError(400, _INVALID_PARAMETER, message)


def answers_errors(work: Work) -> Work:
    """Makes the endpoint answer each `ApiError`. An `OAuthError` means that the client is not authenticated."""

    @wraps(work)
    def answer(call: Call) -> Response:
        try:
            return work(call)
        except ApiError as refusal:
            error = refusal
        except OAuthError as refusal:
            error = ApiError(401, _UNAUTHENTICATED, refusal.description)
        refused_requests.note(call, NAME, str(error.code), error.message)
        result = {"status": False, "error": {"code": error.code, "message": error.message}}
        return api_answer(call, result, status=error.status)

    return answer


def api_answer(
    call: Call, result: dict[str, Any], detail: dict[str, Any] | None = None, *, status: int = 200
) -> Response:
    whole: dict[str, Any] = {
        "id": 1, "jsonrpc": "2.0", "version": f"sshaft {sshaft.__version__}", "time": call.state.clock().timestamp(),
        "result": result,
    }  # fmt: skip
    return JSONResponse(whole if detail is None else whole | {"detail": detail}, status)


def authentication_answer(call: Call, authentication: str, detail: dict[str, Any]) -> Response:
    """Answers a login with `ACCEPT`, `REJECT` or `CHALLENGE`."""
    value = authentication == "ACCEPT"
    return api_answer(call, {"status": True, "value": value, "authentication": authentication}, detail)
