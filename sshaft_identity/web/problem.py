"""Answers refusals as problem details (RFC 9457), except at the token endpoint. Programs read the member `error`."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_PROBLEMS: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "Invalid request"),
    "invalid_token": (401, "Invalid access token"),
    "invalid_client": (401, "The client has not proven itself"),
    "unauthorized_client": (403, "The client may not use this"),
    "wrong_digits": (400, "Wrong digits"),
    "code_required": (403, "A code is required"),
    "invalid_code": (403, "Wrong code"),
    "unknown_key": (403, "This key is not registered for this user"),
    "confirm_required": (403, "The person has to confirm: browser and ssh come from different addresses"),
    "address_mismatch": (403, "Browser and ssh come from different addresses"),
    "verification_required": (403, "This login needs a security key that asks for its PIN or a finger"),
    "binding_not_allowed": (403, "This binding is not allowed here"),
    "return_url_not_allowed": (403, "This client may not lead people there"),
    "too_many_hosts": (403, "Too many hosts have reported as this client"),
    "insufficient_scope": (403, "The access token is not for this"),
    "key_refused": (403, "This key may not be registered"),
    "no_enrolment": (404, "No invitation is open"),
    "unknown_user": (404, "There is no such user"),
    "already_presented": (409, "Another key was presented for this invitation"),
    "key_taken": (409, "This key belongs to somebody else"),
    "already_registered": (409, "This key is registered already"),
    "no_approval": (404, "No such approval"),
    "no_challenge": (404, "No login is waiting"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "already_used": (409, "Already used"),
    "not_accepted": (409, "Not accepted"),
    "not_approved": (409, "Not approved, or over"),
    "not_presented": (409, "ssh has not printed a code for this login yet"),
    "choice_required": (409, "Several logins wait: the person must choose one"),
    "other_user": (403, "This code belongs to the login of another person"),
    "not_pending": (409, "No longer pending"),
    "expired": (410, "Expired"),
    "rejected": (410, "Rejected"),
    "cancelled": (410, "Cancelled"),
    "too_large": (413, "The body is too large"),
    "too_many_attempts": (429, "Too many wrong codes"),
    "too_many_approvals": (429, "Too many approvals were opened"),
    "too_many_reports": (429, "This host has reported too often"),
    "too_many_pages": (429, "Too many pages wait for this login or at this address"),
    "internal": (500, "Something is broken here"),
    "unavailable": (503, "Not available now"),
}
_OF_STATUS = {404: "not_found", 405: "method_not_allowed"}


class ProblemError(Exception):
    """Ends a request with a problem, from code that cannot return an answer."""

    def __init__(self, error: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(error)
        self.error = error
        self.headers = headers
        self.members = members


def status_of(error: str) -> int:
    return _PROBLEMS[error][0]


def problem(error: str, *, headers: dict[str, str] | None = None, **members: Any) -> Response:
    status, title = _PROBLEMS[error]
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "error": error, **members},
        status,
        headers,
        media_type="application/problem+json",
    )


async def answer_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - narrows the type of Starlette's signature
    return problem(error.error, headers=error.headers, **error.members)


def problem_of_status(error: HTTPException) -> Response:
    """Returns the answer to a refusal of Starlette itself: an unknown path or method."""
    headers = dict(error.headers) if error.headers else None
    return problem(_OF_STATUS.get(error.status_code, "invalid_request"), headers=headers)
