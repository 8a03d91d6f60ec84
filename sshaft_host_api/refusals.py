"""Refusals and failures in the form of the contract. mccli reads each of them as JSON."""

from starlette.responses import JSONResponse

from sshaft_host_api.answers import Denied

_UNKNOWN = "User identity could not be determined"
_UNAVAILABLE = "The service cannot answer now. Try again in a minute."
_INVALID_TOKEN = {"WWW-Authenticate": 'Bearer error="invalid_token"'}  # RFC 6750 section 3.1


class RefusedError(Exception):
    """Ends a request with this answer."""

    def __init__(self, status: int, body: dict[str, str], headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self._answer = status, body, headers

    def response(self) -> JSONResponse:
        status, body, headers = self._answer
        return JSONResponse(body, status, headers)


def not_found(detail: str = "Not Found") -> RefusedError:
    return RefusedError(404, {"detail": detail})


def method_not_allowed() -> RefusedError:
    return RefusedError(405, {"detail": "Method Not Allowed"}, {"Allow": "GET"})


def bad_parameter(name: str, fault: str) -> RefusedError:
    return RefusedError(400, {"detail": f"1 request validation error: {fault} (query -> {name})"})


def not_authenticated() -> RefusedError:
    """The request has no bearer token."""
    return RefusedError(401, {"detail": "Not authenticated"}, {"WWW-Authenticate": "Bearer"})


def unusable_token(description: str) -> RefusedError:
    return RefusedError(401, {"error": "Unauthenticated", "error_description": description}, _INVALID_TOKEN)


def unavailable() -> RefusedError:
    return RefusedError(503, {"detail": _UNAVAILABLE}, {"Retry-After": "2"})


def something_went_wrong() -> RefusedError:
    return RefusedError(500, {"detail": "Something went wrong."})


def of_agent(denied: Denied) -> RefusedError:
    """Returns what the agent has refused, or where the agent has failed."""
    match denied.status:
        case "unauthenticated":
            return unusable_token(denied.detail or _UNKNOWN)
        case "forbidden":
            description = denied.detail or "User does not meet requirements"
            details = f"{denied.reason}, reference {denied.reference}" if denied.reference else denied.reason
            return RefusedError(403, {"error": "Forbidden", "error_description": description, "error_details": details})
        case "busy":
            return unavailable()
    if denied.detail:
        return RefusedError(500, {"detail": f"Reached state 'failed': {denied.detail}"})
    return something_went_wrong()
