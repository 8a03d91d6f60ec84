"""Describes the JSON API (OpenAPI 3.1) at /openapi.json. A test fails if a route of the API is missing here."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import sshaft
from sshaft_identity.api import answers
from sshaft_identity.api.approvals import ApprovalRequest, DigitsRequest, EndRequest
from sshaft_identity.api.challenges import OpenRequest, VerifyRequest
from sshaft_identity.api.enrolments import InviteRequest, PresentRequest
from sshaft_identity.api.host_reports import HostReport
from sshaft_identity.api.sshd import AcceptRequest, RejectRequest
from sshaft_identity.challenges.listing import MAX_LISTED_KEYS
from sshaft_identity.clients.clients import Scope
from sshaft_identity.common.fields import FINGERPRINT_PATTERN
from sshaft_identity.web.call import MAX_WAIT_SECONDS
from sshaft_identity.web.problem import status_of
from sshaft_identity.web.state import state_of

Parameter = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `answer` is None if the answer has no body. `problems` names its errors, except those
    that every request may get.
    """

    method: str
    path: str
    name: str
    summary: str
    answer: type[BaseModel] | None
    status: int = 200
    scope: Scope | None = None
    body: type[BaseModel] | None = None
    problems: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)


def _path(name: str, pattern: str) -> Parameter:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}


def _query(name: str, description: str, **schema: Any) -> Parameter:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_ID = _path("id", "^[0-9a-f]{32}$")
_WAIT = _query(
    "wait", "Wait for news for up to this many seconds.", type="integer", minimum=0, maximum=MAX_WAIT_SECONDS
)
_FINGERPRINT = _query(
    "fingerprint",
    "List only this key. May be given several times.",
    type="array",
    items={"type": "string", "pattern": FINGERPRINT_PATTERN},
    maxItems=MAX_LISTED_KEYS,
)
_ATTEMPT: Parameter = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names this attempt. An attempt that arrives twice counts once.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
_OVER_ERRORS = ("no_challenge", "already_used", "expired", "rejected", "cancelled", "too_many_attempts")

OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/mfa/ssh/keys",
        "listKeys",
        "Lists the keys that may log in now, or the given keys, pending or not.",
        answers.KeyList,
        scope=Scope.LIST,
        problems=("invalid_request",),
        parameters=(_FINGERPRINT,),
    ),
    Operation(
        "POST",
        "/api/v1/mfa/ssh/accept",
        "accept",
        "Accepts the challenge after an SSH login with this key.",
        answers.AcceptAnswer,
        scope=Scope.ACCEPT,
        body=AcceptRequest,
        problems=(
            "invalid_request",
            "code_required",
            "invalid_code",
            "unknown_key",
            "confirm_required",
            "address_mismatch",
            "verification_required",
            *_OVER_ERRORS,
        ),
        parameters=(_ATTEMPT,),
    ),
    Operation(
        "POST",
        "/api/v1/mfa/ssh/reject",
        "reject",
        "Rejects the challenge because the person denied the login.",
        answers.RejectAnswer,
        scope=Scope.ACCEPT,
        body=RejectRequest,
        problems=("invalid_request", "no_challenge"),
    ),
    Operation(
        "GET",
        "/api/v1/mfa/ssh/server",
        "showServer",
        "Shows the sshd that people reach, and its host keys.",
        answers.SshServerAnswer,
    ),
    Operation(
        "POST",
        "/api/v1/mfa/ssh/enrol",
        "presentKey",
        "Presents a key that no user owns, with the code of an enrolment.",
        answers.PresentAnswer,
        scope=Scope.ACCEPT,
        body=PresentRequest,
        problems=(
            "invalid_request",
            "invalid_code",
            "key_refused",
            "no_enrolment",
            "already_presented",
            "key_taken",
            "already_registered",
            "too_many_attempts",
        ),
    ),
    Operation(
        "POST",
        "/api/v1/enrolments",
        "invite",
        "Invites a person to enrol a key.",
        answers.InvitedAnswer,
        status=201,
        scope=Scope.ENROLMENTS,
        body=InviteRequest,
        problems=("invalid_request", "unknown_user"),
        headers={"Location": "The enrolment's address."},
    ),
    Operation(
        "GET",
        "/api/v1/enrolments/{id}",
        "getEnrolment",
        "Returns the enrolment, with wait as soon as its state changes.",
        answers.EnrolmentAnswer,
        scope=Scope.ENROLMENTS,
        problems=("invalid_request", "no_enrolment"),
        parameters=(_ID, _WAIT),
    ),
    Operation(
        "POST",
        "/api/v1/challenges",
        "openChallenge",
        "Opens the challenge of a login.",
        answers.OpenedAnswer,
        status=201,
        scope=Scope.CHALLENGES,
        body=OpenRequest,
        problems=("invalid_request", "binding_not_allowed", "return_url_not_allowed"),
        headers={"Location": "The challenge's address."},
    ),
    Operation(
        "GET",
        "/api/v1/challenges/{id}",
        "getChallenge",
        "Returns the challenge, with wait as soon as it is over.",
        answers.ChallengeAnswer,
        scope=Scope.CHALLENGES,
        problems=("invalid_request", "no_challenge"),
        parameters=(_ID, _WAIT),
    ),
    Operation(
        "POST",
        "/api/v1/challenges/{id}/verify",
        "verifyChallenge",
        "Checks the code that ssh printed and the person typed (binding code_back).",
        answers.ChallengeAnswer,
        scope=Scope.CHALLENGES,
        body=VerifyRequest,
        problems=("invalid_request", "invalid_code", *_OVER_ERRORS),
        parameters=(_ID, _ATTEMPT),
    ),
    Operation(
        "POST",
        "/api/v1/challenges/{id}/consume",
        "consumeChallenge",
        "Returns the result, once.",
        answers.ConsumedAnswer,
        scope=Scope.CHALLENGES,
        problems=("no_challenge", "already_used", "not_accepted"),
        parameters=(_ID,),
    ),
    Operation(
        "POST",
        "/api/v1/challenges/{id}/cancel",
        "cancelChallenge",
        "Cancels the challenge, so that it can no longer be accepted.",
        answers.ChallengeAnswer,
        scope=Scope.CHALLENGES,
        problems=("no_challenge", "not_pending"),
        parameters=(_ID,),
    ),
    Operation(
        "POST",
        "/api/v1/approvals",
        "openApproval",
        "Asks a person to approve an SSH login at this host.",
        answers.OpenedApprovalAnswer,
        status=201,
        scope=Scope.APPROVALS,
        body=ApprovalRequest,
        problems=("invalid_request", "too_many_approvals"),
        headers={"Location": "The approval's address."},
    ),
    Operation(
        "GET",
        "/api/v1/approvals/{id}",
        "getApproval",
        "Returns the state of the approval, with wait as soon as it changes.",
        answers.ApprovalAnswer,
        scope=Scope.APPROVALS,
        problems=("invalid_request", "no_approval"),
        parameters=(_ID, _WAIT),
    ),
    Operation(
        "POST",
        "/api/v1/approvals/{id}/verify",
        "verifyApproval",
        "Checks the digits that the page shows. Returns who has approved, once.",
        answers.VerifiedApprovalAnswer,
        scope=Scope.APPROVALS,
        body=DigitsRequest,
        problems=("invalid_request", "wrong_digits", "no_approval", "not_approved"),
        parameters=(_ID,),
    ),
    Operation(
        "POST",
        "/api/v1/approvals/{id}/end",
        "endApproval",
        "Notes what became of the SSH login. May be repeated.",
        None,
        status=204,
        scope=Scope.APPROVALS,
        body=EndRequest,
        problems=("invalid_request", "no_approval"),
        parameters=(_ID,),
    ),
    Operation(
        "POST",
        "/api/v1/approvals/report",
        "reportHostLogins",
        "Reports all open sessions and remembered approvals of a host, and returns those that must end.",
        answers.HostReportAnswer,
        scope=Scope.APPROVALS,
        body=HostReport,
        problems=("invalid_request", "too_many_hosts", "too_many_reports"),
    ),
    Operation(
        "GET",
        "/challenge/{page_token}/state",
        "getPageState",
        "Returns the news for the challenge page. The secret path authorizes the request.",
        answers.PageState,
        problems=("invalid_request", "not_found"),
        parameters=(
            _path("page_token", "^[A-Za-z0-9_-]{22}$"),
            _WAIT,
            _query("attempts_left", "The number that the page shows.", type="string"),
        ),
    ),
    Operation("GET", "/.well-known/jwks.json", "getKeySet", "Returns the public keys of the service.", answers.KeySet),
    Operation("GET", "/healthz", "getHealth", "Answers as long as the process runs.", answers.Status),
    Operation("GET", "/readyz", "getReadiness", "Answers 200 if the service can do its work.", answers.Status),
)

_TOKEN: dict[str, Any] = {
    "operationId": "getToken",
    "summary": "Issues an access token by client_credentials (RFC 6749 §4.4).",
    "security": [{"clientSecretBasic": []}, {}],
    "requestBody": {
        "required": True,
        "content": {"application/x-www-form-urlencoded": {"schema": {"$ref": "#/components/schemas/TokenRequest"}}},
    },
    "responses": {
        "200": {
            "description": "RFC 6749 §5.1",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TokenAnswer"}}},
        },
        **{
            status: {
                "description": "RFC 6749 §5.2",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TokenError"}}},
            }
            for status in ("400", "401")
        },
        "413": {"$ref": "#/components/responses/too_large"},
        "503": {"$ref": "#/components/responses/unavailable"},
    },
}


def description(base_url: str) -> dict[str, Any]:
    """Returns the whole OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {"/oauth2/token": {"post": _TOKEN}}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sshaft identity service",
            "version": sshaft.__version__,
            "description": "An SSH login as an authentication factor of a web login: docs/identity-api.md.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "servers": [{"url": base_url}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {name: _refusal((name,)) for name in ("too_large", "unavailable")},
            "securitySchemes": {
                "clientSecretBasic": {"type": "http", "scheme": "basic"},
                "accessToken": {
                    "type": "oauth2",
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": f"{base_url}/oauth2/token",
                            "scopes": {scope.value: _SCOPES[scope] for scope in Scope},
                        }
                    },
                },
            },
        },
    }


_SCOPES = {
    Scope.LIST: "list the keys that may log in",
    Scope.ACCEPT: "accept and reject challenges",
    Scope.CHALLENGES: "start logins",
    Scope.ENROLMENTS: "invite people to enrol keys",
    Scope.APPROVALS: "have logins to a host approved, and report who is logged in there",
}


def _operation(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.answer is not None:
        answer["content"] = _json(operation.answer)
    if operation.headers:
        answer["headers"] = {
            name: {"description": text, "required": True, "schema": {"type": "string"}}
            for name, text in operation.headers.items()
        }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {str(operation.status): answer} | _refusals(operation),
    }
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.scope is not None:
        described["security"] = [{"accessToken": [operation.scope.value]}]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    return described


def _refusals(operation: Operation) -> dict[str, Any]:
    names = [*operation.problems]
    if operation.scope is not None:
        names += ["invalid_token", "insufficient_scope"]
    by_status: dict[int, list[str]] = {}
    for name in names:
        by_status.setdefault(status_of(name), []).append(name)
    responses: dict[str, Any] = {str(status): _refusal(each) for status, each in sorted(by_status.items())}
    if operation.body is not None:
        responses["413"] = {"$ref": "#/components/responses/too_large"}
    return responses | {"503": {"$ref": "#/components/responses/unavailable"}}


def _refusal(names: list[str] | tuple[str, ...]) -> dict[str, Any]:
    return {
        "description": ", ".join(names),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


def _schemas() -> dict[str, Any]:
    models = {each for operation in OPERATIONS for each in (operation.answer, operation.body) if each is not None}
    models |= {answers.Problem, answers.TokenRequest, answers.TokenAnswer, answers.TokenError}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schema = models_json_schema(
        [(model, "validation") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


async def openapi(request: Request) -> Response:
    return JSONResponse(description(state_of(request).settings.base_url))


ROUTES = [Route("/openapi.json", openapi, methods=["GET"])]
