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
from sshaft_identity.api.challenges import OpenRequest, VerifyRequest
from sshaft_identity.api.enrolments import InviteRequest, PresentRequest
from sshaft_identity.api.sshd import AcceptRequest, RejectRequest
from sshaft_identity.challenges.challenges import MOST_KEYS
from sshaft_identity.clients.clients import Scope
from sshaft_identity.common.fields import FINGERPRINT_PATTERN
from sshaft_identity.web.call import MAX_WAIT_SECONDS
from sshaft_identity.web.problem import status_of
from sshaft_identity.web.state import state_of

Parameter = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address. `problems` are names of `problem`, but for those that any request may meet."""

    method: str
    path: str
    name: str
    summary: str
    answer: type[BaseModel]
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
    "wait", "Answer when there is news, or after so many seconds.", type="integer", minimum=0, maximum=MAX_WAIT_SECONDS
)
_FINGERPRINT = _query(
    "fingerprint",
    "Of this key only; given several times, of these.",
    type="array",
    items={"type": "string", "pattern": FINGERPRINT_PATTERN},
    maxItems=MOST_KEYS,
)
_ATTEMPT: Parameter = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names this attempt: it may arrive twice and counts once.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
_OVER = ("no_challenge", "already_used", "expired", "rejected", "cancelled", "too_many_attempts")

OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/mfa/ssh/keys",
        "listKeys",
        "The keys that may log in now; with a fingerprint that key, pending or not.",
        answers.KeyList,
        scope=Scope.LIST,
        problems=("invalid_request",),
        parameters=(_FINGERPRINT,),
    ),
    Operation(
        "POST",
        "/api/v1/mfa/ssh/accept",
        "accept",
        "An SSH login with this key has passed: accept the challenge.",
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
            *_OVER,
        ),
        parameters=(_ATTEMPT,),
    ),
    Operation(
        "POST",
        "/api/v1/mfa/ssh/reject",
        "reject",
        "The person denies the login.",
        answers.RejectAnswer,
        scope=Scope.ACCEPT,
        body=RejectRequest,
        problems=("invalid_request", "no_challenge"),
    ),
    Operation(
        "POST",
        "/api/v1/mfa/ssh/enrol",
        "presentKey",
        "A key that nobody owns has signed, and its holder gave the code of an invitation.",
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
        "Invite a person to enrol a key.",
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
        "How it stands; with wait as soon as that changes.",
        answers.EnrolmentAnswer,
        scope=Scope.ENROLMENTS,
        problems=("invalid_request", "no_enrolment"),
        parameters=(_ID, _WAIT),
    ),
    Operation(
        "POST",
        "/api/v1/challenges",
        "openChallenge",
        "Start a login.",
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
        "How it stands.",
        answers.ChallengeAnswer,
        scope=Scope.CHALLENGES,
        problems=("invalid_request", "no_challenge"),
        parameters=(_ID, _WAIT),
    ),
    Operation(
        "POST",
        "/api/v1/challenges/{id}/verify",
        "verifyChallenge",
        "With binding code_back: the code that ssh showed, typed where the web login asks.",
        answers.ChallengeAnswer,
        scope=Scope.CHALLENGES,
        body=VerifyRequest,
        problems=("invalid_request", "invalid_code", *_OVER),
        parameters=(_ID, _ATTEMPT),
    ),
    Operation(
        "POST",
        "/api/v1/challenges/{id}/consume",
        "consumeChallenge",
        "Take the result, once.",
        answers.ConsumedAnswer,
        scope=Scope.CHALLENGES,
        problems=("no_challenge", "already_used", "not_accepted"),
        parameters=(_ID,),
    ),
    Operation(
        "POST",
        "/api/v1/challenges/{id}/cancel",
        "cancelChallenge",
        "Nobody shall pass it any more.",
        answers.ChallengeAnswer,
        scope=Scope.CHALLENGES,
        problems=("no_challenge", "not_pending"),
        parameters=(_ID,),
    ),
    Operation(
        "GET",
        "/challenge/{page_token}/state",
        "getPageState",
        "What the challenge's page polls; its address is the permission.",
        answers.PageState,
        problems=("invalid_request", "not_found"),
        parameters=(
            _path("page_token", "^[A-Za-z0-9_-]{22}$"),
            _WAIT,
            _query("attempts_left", "What the page shows.", type="string"),
        ),
    ),
    Operation("GET", "/.well-known/jwks.json", "getKeySet", "What verifies our signatures.", answers.KeySet),
    Operation("GET", "/healthz", "getHealth", "The process answers.", answers.Status),
    Operation("GET", "/readyz", "getReadiness", "It can do its work.", answers.Status),
)

_TOKEN: dict[str, Any] = {
    "operationId": "getToken",
    "summary": "An access token by client_credentials (RFC 6749 §4.4).",
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
    """The whole document."""
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
}


def _operation(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary, "content": _json(operation.answer)}
    if operation.headers:
        answer["headers"] = {
            name: {"description": text, "required": True, "schema": {"type": "string"}}
            for name, text in operation.headers.items()
        }
    shown: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {str(operation.status): answer} | _refusals(operation),
    }
    if operation.parameters:
        shown["parameters"] = list(operation.parameters)
    if operation.scope is not None:
        shown["security"] = [{"accessToken": [operation.scope.value]}]
    if operation.body is not None:
        shown["requestBody"] = {"required": True, "content": _json(operation.body)}
    return shown


def _refusals(operation: Operation) -> dict[str, Any]:
    names = [*operation.problems]
    if operation.scope is not None:
        names += ["invalid_token", "insufficient_scope"]
    by_status: dict[int, list[str]] = {}
    for name in names:
        by_status.setdefault(status_of(name), []).append(name)
    shown: dict[str, Any] = {str(status): _refusal(each) for status, each in sorted(by_status.items())}
    if operation.body is not None:
        shown["413"] = {"$ref": "#/components/responses/too_large"}
    return shown | {"503": {"$ref": "#/components/responses/unavailable"}}


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
