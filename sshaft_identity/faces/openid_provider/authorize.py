"""The OpenID Provider: a login by SSH for every relying party (OpenID Connect Core 1.0 §3.1, the code flow).

Every request is a challenge of its own: there is no session to answer from. PKCE (RFC 7636) is required, but of clients
that are marked as legacy.
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
from sshaft_identity.web.oauth import OAuthError, fields_of, form_of

CODE_LIFETIME = timedelta(seconds=60)
_LONGEST = 4096
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_UNSUPPORTED = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
    "registration": "registration_not_supported",
}


class Details(BaseModel):
    """What is remembered of a request until its code is redeemed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redirect_uri: str
    response_mode: str
    state: str | None
    nonce: str | None
    code_challenge: str | None
    scope: str
    acr: tuple[str, ...]
    essential: bool


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
    """§5.5, as far as it asks for something that we decide."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    id_token: _IdTokenClaims | None = None


def metadata(settings: Settings) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0 §3; RFC 8414."""
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
class _Asked:
    """A request whose client and redirect_uri are known to belong together: from here on errors go there."""

    client: Client
    options: OpenIdClient
    parameters: Mapping[str, str]

    @property
    def redirect_uri(self) -> str:
        return self.parameters["redirect_uri"]


def authorize(call: Call) -> Response:
    """`GET` or `POST /oauth2/authorize` (§3.1.2.1)."""
    asked = _asked(call)
    try:
        wish, details = _checked(call, asked)
        return browser_login.begin_login(call, NAME, wish, details.model_dump())
    except OAuthError as error:
        refused_requests.note(call, NAME, error.error, error.description)
        mode = asked.parameters.get("response_mode", "")
        return _send_back(call, asked.redirect_uri, mode, asked.parameters.get("state"), {
            "error": error.error, "error_description": error.description,
        })  # fmt: skip


def _asked(call: Call) -> _Asked:
    """Raises `PageError`: a request that cannot be trusted to name its client must not lead anywhere."""
    try:
        parameters = fields_of(call.request.url.query.encode()) if call.request.method == "GET" else form_of(call)
    except OAuthError as error:
        raise browser_login.untrusted_request(call, NAME, error.description) from None
    client = call.state.store.clients.get(parameters.get("client_id", ""))
    if client is None or NAME not in client.faces:
        raise browser_login.untrusted_request(call, NAME, "the client is not registered for logins here")
    options = OpenIdClient.model_validate(client.faces[NAME])
    if parameters.get("redirect_uri") not in options.redirect_uris:
        raise browser_login.untrusted_request(
            call, NAME, "the redirect_uri is not one that the client is registered with"
        )
    return _Asked(client, options, parameters)


def _checked(call: Call, asked: _Asked) -> tuple[Wish, Details]:
    """Raises `OAuthError`."""
    given, state = asked.parameters, call.state
    _check_parameters(given)
    _check_pkce(asked.options, given)
    wanted, subject = _wishes(given)
    user = _user(call, asked.client, given, subject)
    if not wanted.is_satisfiable or (wanted.verify_required and wanted.essential and user is None):
        raise OAuthError("unmet_authentication_requirements", "that cannot be proven here")
    wish = Wish(
        user=user,
        lifetime=timedelta(seconds=state.settings.lifetime),
        client=asked.client.client_id,
        context=Context(asked.options.app or asked.client.client_id, client_address(call.request),
                        user_agent(call.request)),
        verify_required=wanted.verify_required and user is not None,
    )  # fmt: skip
    details = Details(
        redirect_uri=asked.redirect_uri,
        response_mode=given.get("response_mode", "query"),
        state=given.get("state"),
        nonce=given.get("nonce"),
        code_challenge=given.get("code_challenge"),
        scope=" ".join(scope for scope in id_tokens.SCOPES if scope in given["scope"].split()),
        acr=wanted.values,
        essential=wanted.essential,
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
        raise OAuthError("invalid_scope", "scope must hold openid")
    if max(len(given.get(name, "")) for name in ("state", "nonce", "acr_values", "claims")) > _LONGEST:
        raise OAuthError("invalid_request", f"state, nonce, acr_values and claims have at most {_LONGEST} characters")
    if not re.fullmatch(r"[0-9]{1,9}", given.get("max_age", "0")):
        raise OAuthError("invalid_request", "max_age must be a number of seconds")
    prompt = given.get("prompt", "").split()
    if "none" in prompt:  # §3.1.2.6
        error = "login_required" if prompt == ["none"] else "invalid_request"
        raise OAuthError(error, "every login here is by SSH, so prompt=none never succeeds")


def _check_pkce(options: OpenIdClient, given: Mapping[str, str]) -> None:
    challenge = given.get("code_challenge")
    if challenge is None and options.pkce:
        raise OAuthError("invalid_request", "code_challenge is missing: PKCE is required (RFC 7636)")
    if challenge is None and "code_challenge_method" not in given:
        return
    if given.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge or ""):
        raise OAuthError("invalid_request", "code_challenge must be one of the method S256")


def _wishes(given: Mapping[str, str]) -> tuple[AcrRequest, str | None]:
    """What is to be proven, and of whom, as far as `claims` says."""
    voluntary = AcrRequest(tuple(given.get("acr_values", "").split()))
    if "claims" not in given:
        return voluntary, None
    try:
        asked = _Claims.model_validate(json.loads(given["claims"])).id_token or _IdTokenClaims()
    except (ValidationError, ValueError, RecursionError):
        raise OAuthError("invalid_request", "claims is not what §5.5 of OpenID Connect Core says") from None
    subject = None if asked.sub is None else asked.sub.get("value")
    if subject is not None and not isinstance(subject, str):
        raise OAuthError("invalid_request", "claims: sub is no text")
    if asked.acr is None:
        return voluntary, subject
    values = (*([] if asked.acr.value is None else [asked.acr.value]), *asked.acr.values)
    return AcrRequest(values, asked.acr.essential) if values else voluntary, subject


def _user(call: Call, client: Client, given: Mapping[str, str], subject: str | None) -> str | None:
    """Whose login it is to be; None: of whoever brings the code."""
    named = {id_tokens.subject_of_hint(call, client, given["id_token_hint"])} if "id_token_hint" in given else set()
    if subject is not None:
        named.add(subject)
    users = {call.state.store.subjects.user_of(client, each) for each in named}
    if "login_hint" in given:
        users.add(given["login_hint"])
    if len(users) > 1 or not all(each is not None and re.fullmatch(USER_PATTERN, each) for each in users):
        raise OAuthError("invalid_request", "the hints name nobody, or more than one person")
    return next(iter(users), None)


# --- the answer


def finish(call: Call, challenge: Challenge) -> Response:
    """Back to the client, with a code or with an error (§3.1.2.5, §3.1.2.6)."""
    state, now = call.state, call.state.clock()
    requests = FaceRequests(state.store.database, NAME)
    request = requests.get(challenge.id)
    if request is None:
        raise browser_login.already_finished()
    call.caller = request.client_id
    details = Details.model_validate(request.details)
    passed = browser_login.take_result(call, challenge, now)
    if passed is None:
        reason = browser_login.failure_reason(challenge, now)
        return _send_error_back(call, details, "access_denied", reason)
    if acr_of(AcrRequest(details.acr, details.essential), passed) is None:
        return _send_error_back(call, details, "unmet_authentication_requirements", "the SSH login has proven less")
    code = requests.issue_handle(challenge.id, now + CODE_LIFETIME)
    if code is None:
        raise browser_login.already_finished()
    return _send_back(call, details.redirect_uri, details.response_mode, details.state, {"code": code})


def _send_error_back(call: Call, details: Details, error: str, reason: str) -> Response:
    refused_requests.note(call, NAME, error, reason)
    values = {"error": error, "error_description": reason}
    return _send_back(call, details.redirect_uri, details.response_mode, details.state, values)


def _send_back(call: Call, redirect_uri: str, mode: str, state: str | None, values: dict[str, str]) -> Response:
    """To the client's registered address. With `iss`, so that it knows whose answer it is (RFC 9207)."""
    values |= {"iss": call.state.settings.base_url} | ({} if state is None else {"state": state})
    if mode == "form_post":
        return browser_login.form_post(call, redirect_uri, values)
    sign = "&" if "?" in redirect_uri else "?"
    return RedirectResponse(f"{redirect_uri}{sign}{urlencode(values)}", 303)
