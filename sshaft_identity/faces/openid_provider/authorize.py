"""Serves the authorization endpoint of the OpenID Provider (OpenID Connect Core 1.0 §3.1.2, §5.5).

Every request opens a new challenge, because there is no session. PKCE (RFC 7636) is required unless the client has the
option `pkce: false`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from starlette.responses import RedirectResponse, Response

from sshaft_identity.challenges.challenge import Challenge, Context
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.face_support import browser_login, id_tokens
from sshaft_identity.face_support.assurance import SUPPORTED_ACRS, AcrRequest, acr_of
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.faces.openid_provider.options import NAME, OpenIdClient
from sshaft_identity.settings import Settings
from sshaft_identity.web import refused_requests
from sshaft_identity.web.browsers import client_address, user_agent
from sshaft_identity.web.call import Call
from sshaft_identity.web.language import PARAMETER
from sshaft_identity.web.oauth import OAuthError, fields_of, form_of

MAX_PARAMETER_LENGTH = 4096
_CODE_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_UNSUPPORTED = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
    "registration": "registration_not_supported",
}


class Details(BaseModel):
    """The data that is stored until the code is redeemed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redirect_uri: str
    response_mode: str
    state: str | None
    nonce: str | None
    code_challenge: str | None
    scope: str
    acr: tuple[str, ...]
    essential: bool
    subject: str | None = None


class _Acr(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    essential: bool = False
    value: str | None = None
    values: list[str] = Field(default_factory=list, max_length=32)


class _IdTokenClaims(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    acr: _Acr | None = None
    sub: dict[str, JsonValue] | None = None


class _Claims(BaseModel):
    """The parts of the `claims` parameter (§5.5) that are used here."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    id_token: _IdTokenClaims | None = None


def metadata(settings: Settings) -> dict[str, Any]:
    """Returns the metadata of OpenID Connect Discovery 1.0 §3 and RFC 8414."""
    base = settings.base_url
    return {
        "authorization_endpoint": f"{base}/oauth2/authorize",
        "userinfo_endpoint": f"{base}/oauth2/userinfo",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "scopes_supported": list(id_tokens.SCOPES),
        "claims_supported": ["sub", "acr", "amr", "auth_time", "preferred_username"],
        "claim_types_supported": ["normal"],
        "claims_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "acr_values_supported": list(SUPPORTED_ACRS),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }


# --- the request


@dataclass(frozen=True, slots=True)
class _ClientRequest:
    """A request whose redirect_uri belongs to its client, so that errors can go there."""

    client: Client
    options: OpenIdClient
    parameters: Mapping[str, str]

    @property
    def redirect_uri(self) -> str:
        return self.parameters["redirect_uri"]


def authorize(call: Call) -> Response:
    """`GET` or `POST /oauth2/authorize` (§3.1.2.1)."""
    request = _identify_client(call)
    try:
        wish, details = _parse_request(call, request)
        return browser_login.begin_login(call, NAME, wish, details.model_dump(), request.parameters.get(PARAMETER))
    except OAuthError as error:
        refused_requests.note(call, NAME, error.error, error.description)
        mode = request.parameters.get("response_mode", "")
        return _send_back(call, request.redirect_uri, mode, request.parameters.get("state"), {
            "error": error.error, "error_description": error.description,
        })  # fmt: skip


def _identify_client(call: Call) -> _ClientRequest:
    """Returns the request with its client. Raises `PageError` if the redirect_uri is not one of the client."""
    try:
        parameters = fields_of(call.request.url.query.encode()) if call.request.method == "GET" else form_of(call)
    except OAuthError as error:
        raise browser_login.untrusted_request(call, NAME, error.description) from None
    client = call.state.store.clients.get(parameters.get("client_id", ""))
    if client is None or NAME not in client.faces:
        raise browser_login.untrusted_request(call, NAME, "the client is not registered for OpenID Connect here")
    options = OpenIdClient.model_validate(client.faces[NAME])
    if parameters.get("redirect_uri") not in options.redirect_uris:
        raise browser_login.untrusted_request(call, NAME, "the redirect_uri is not registered for the client")
    return _ClientRequest(client, options, parameters)


def _parse_request(call: Call, request: _ClientRequest) -> tuple[Wish, Details]:
    """Returns the challenge to open and the data to store. Raises `OAuthError`."""
    given, state = request.parameters, call.state
    _check_parameters(given)
    _check_pkce(request.options, given)
    acr_request, subject = _requested_claims(given)
    subjects = _requested_subjects(call, request.client, given, subject)
    hint = _requested_user(call, request.client, given, subjects)
    if not acr_request.is_satisfiable or (acr_request.verify_required and acr_request.essential and hint is None):
        raise OAuthError("unmet_authentication_requirements", "the requested acr cannot be proven here")
    wish = Wish(
        user=None,  # anybody can send this request: the user that it names is a hint
        hint=hint,
        lifetime=timedelta(seconds=state.settings.lifetime),
        client=request.client.client_id,
        context=Context(request.options.app or request.client.client_id, client_address(call.request),
                        user_agent(call.request)),
        verify_required=acr_request.verify_required and hint is not None,
    )  # fmt: skip
    details = Details(
        redirect_uri=request.redirect_uri,
        response_mode=given.get("response_mode", "query"),
        state=given.get("state"),
        nonce=given.get("nonce"),
        code_challenge=given.get("code_challenge"),
        scope=" ".join(scope for scope in id_tokens.SCOPES if scope in given["scope"].split()),
        acr=acr_request.values,
        essential=acr_request.essential,
        subject=next(iter(subjects), None),
    )
    return wish, details


def _check_parameters(given: Mapping[str, str]) -> None:
    for name, error in _UNSUPPORTED.items():
        if name in given:
            raise OAuthError(error, f"{name} is not supported")
    if given.get("response_type") != "code":
        raise OAuthError("unsupported_response_type", "response_type must be code")
    if given.get("response_mode", "query") not in ("query", "form_post"):
        raise OAuthError("invalid_request", "response_mode must be query or form_post")
    if "openid" not in given.get("scope", "").split():
        raise OAuthError("invalid_scope", "scope must contain openid")
    if max(len(given.get(name, "")) for name in ("state", "nonce", "acr_values", "claims")) > MAX_PARAMETER_LENGTH:
        raise OAuthError(
            "invalid_request", f"state, nonce, acr_values and claims have at most {MAX_PARAMETER_LENGTH} characters"
        )
    if not re.fullmatch(r"[0-9]{1,9}", given.get("max_age", "0")):
        raise OAuthError("invalid_request", "max_age must be a number of seconds")
    prompt = given.get("prompt", "").split()
    if "none" in prompt:  # §3.1.2.6
        error = "login_required" if prompt == ["none"] else "invalid_request"
        raise OAuthError(error, "every login needs SSH, so prompt=none never succeeds")


def _check_pkce(options: OpenIdClient, given: Mapping[str, str]) -> None:
    challenge = given.get("code_challenge")
    if challenge is None and options.pkce:
        raise OAuthError("invalid_request", "code_challenge is missing: PKCE is required (RFC 7636)")
    if challenge is None and "code_challenge_method" not in given:
        return
    if given.get("code_challenge_method") != "S256" or not _CODE_CHALLENGE.fullmatch(challenge or ""):
        raise OAuthError("invalid_request", "code_challenge must have the method S256")


def _requested_claims(given: Mapping[str, str]) -> tuple[AcrRequest, str | None]:
    """Returns the requested acr values, and the `sub` that `claims` requests."""
    voluntary = AcrRequest(tuple(given.get("acr_values", "").split()))
    if "claims" not in given:
        return voluntary, None
    try:
        requested = _Claims.model_validate(json.loads(given["claims"])).id_token or _IdTokenClaims()
    except (ValidationError, ValueError, RecursionError):
        raise OAuthError("invalid_request", "claims does not follow OpenID Connect Core 1.0 §5.5") from None
    subject = None if requested.sub is None else requested.sub.get("value")
    if subject is not None and not isinstance(subject, str):
        raise OAuthError("invalid_request", "claims: sub is not a text")
    if requested.acr is None:
        return voluntary, subject
    values = (*([] if requested.acr.value is None else [requested.acr.value]), *requested.acr.values)
    return AcrRequest(values, requested.acr.essential) if values else voluntary, subject


def _requested_subjects(call: Call, client: Client, given: Mapping[str, str], subject: str | None) -> set[str]:
    """Returns the `sub` that the ID token must have, by `id_token_hint` and by `claims`."""
    subjects = {id_tokens.subject_of_hint(call, client, given["id_token_hint"])} if "id_token_hint" in given else set()
    return subjects if subject is None else subjects | {subject}


def _requested_user(call: Call, client: Client, given: Mapping[str, str], subjects: set[str]) -> str | None:
    """Returns the user that the hints name. Returns None without a hint: then any user with the code passes.

    The id of no user counts as a name: so the answer does not show which ids there are. `finish` compares the `sub`.
    """
    store = call.state.store
    identifiers = {store.subjects.user_id_of(client, each) for each in subjects}
    users = {each and (store.users.name_of(each) or each) for each in identifiers}
    if "login_hint" in given:
        users.add(given["login_hint"])
    if len(users) > 1 or not all(each is not None and re.fullmatch(USER_PATTERN, each) for each in users):
        raise OAuthError("invalid_request", "the hints name no user, or more than one user")
    return next(iter(users), None)


# --- the answer


def finish(call: Call, challenge: Challenge) -> Response:
    """Returns the browser to the client, with a code or an error (§3.1.2.5, §3.1.2.6)."""
    state, now = call.state, call.state.clock()
    request = browser_login.request_of(call, NAME, challenge)
    details = Details.model_validate(request.details)
    passed = browser_login.take_result(call, challenge, now)
    if passed is None:
        reason = browser_login.failure_reason(challenge, now)
        return _send_error_back(call, details, "access_denied", reason)
    if not _is_requested(call, request.client_id, details, passed):
        return _send_error_back(call, details, "access_denied", "another person than the requested one has passed")
    if acr_of(AcrRequest(details.acr, details.essential), passed) is None:
        return _send_error_back(
            call, details, "unmet_authentication_requirements", "the SSH login does not prove the requested acr"
        )
    code = FaceRequests(state.store.database, NAME).renew_handle(challenge.id, now)
    if code is None:
        raise browser_login.already_finished()
    return _send_back(call, details.redirect_uri, details.response_mode, details.state, {"code": code})


def _is_requested(call: Call, client_id: str, details: Details, passed: Challenge) -> bool:
    """Whether the person is the one of the requested `sub` (§5.5.1), and not only has the same user name."""
    client = call.state.store.clients.get(client_id)
    if details.subject is None or client is None or passed.user is None:
        return details.subject is None
    return details.subject == id_tokens.subject_of(call, client, passed.user)


def _send_error_back(call: Call, details: Details, error: str, reason: str) -> Response:
    refused_requests.note(call, NAME, error, reason)
    values = {"error": error, "error_description": reason}
    return _send_back(call, details.redirect_uri, details.response_mode, details.state, values)


def _send_back(call: Call, redirect_uri: str, mode: str, state: str | None, values: dict[str, str]) -> Response:
    """Redirects to the registered address of the client. The parameter `iss` names us as the sender (RFC 9207)."""
    values |= {"iss": call.state.settings.base_url} | ({} if state is None else {"state": state})
    if mode == "form_post":
        return browser_login.form_post(call, redirect_uri, values)
    sign = "&" if "?" in redirect_uri else "?"
    return RedirectResponse(f"{redirect_uri}{sign}{urlencode(values)}", 303)
