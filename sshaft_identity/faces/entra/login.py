"""Serves the login of Microsoft Entra ID's external MFA: after the password, Entra sends the browser here.

    POST /entra/authorize   begins the login
    POST to Entra           returns an ID token or an error

Entra uses its own profile of the implicit flow of OpenID Connect. All calls are POST, a hint signed by Microsoft names
the person, and the answer has exactly one acr and one amr.
https://learn.microsoft.com/en-us/entra/identity/authentication/concept-authentication-external-method-provider
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sshaft.errors import RemoteServiceError
from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import Approval, Challenge, Context
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import one_line
from sshaft_identity.database.used_values import first_use
from sshaft_identity.face_support import browser_login, id_tokens
from sshaft_identity.face_support.assurance import POSSESSION_ACRS
from sshaft_identity.faces.entra.accounts import bind_account, user_of
from sshaft_identity.faces.entra.hints import LEEWAY, MAX_HINT_AGE, EntraHints, Hint
from sshaft_identity.faces.entra.options import NAME, EntraClient
from sshaft_identity.settings import Settings
from sshaft_identity.web import refused_requests
from sshaft_identity.web.body import body_of
from sshaft_identity.web.browsers import client_address, user_agent
from sshaft_identity.web.call import Call
from sshaft_identity.web.language import PARAMETER
from sshaft_identity.web.oauth import OAuthError, form_of
from sshaft_identity.web.state import state_of
from sshaft_oidc.remote_keys import Document, OpenIdError

MAX_PARAMETER_LENGTH = 4096


class Details(BaseModel):
    """The data that is stored until the login is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redirect_uri: str
    state: str | None
    nonce: str
    subject: str
    tenant: str
    object_id: str
    acr: str
    amr: tuple[str, ...]


class _Values(Document):
    essential: bool = False
    values: list[str] = Field(max_length=64)


class _IdTokenClaims(Document):
    acr: _Values
    amr: _Values


class _Claims(Document):
    id_token: _IdTokenClaims


def issuer(settings: Settings) -> str:
    return f"{settings.base_url}/entra"


# --- the request


@dataclass(frozen=True, slots=True)
class _ClientRequest:
    client: Client
    options: EntraClient
    form: Mapping[str, str]


async def authorize(hints: EntraHints, http_request: Request) -> Response:
    """`POST /entra/authorize`. The form comes from another site, so it brings no cookie of ours."""
    state, call = state_of(http_request), Call(http_request, await body_of(http_request))
    request = await run_in_threadpool(_identify_client, call)
    work: Callable[[], Response]
    try:
        _check_parameters(request.form)
        check = partial(hints.checked, request.form.get("id_token_hint", ""), request.options)
        # few threads wait for Microsoft, so that its slow answers do not delay other logins
        hint = await anyio.to_thread.run_sync(check, limiter=hints.limiter)
        work = partial(_begin_or_refuse, call, request, hint)
    except OAuthError as error:
        work = partial(_refused, call, request, error)
    except OpenIdError as error:
        work = partial(_refused, call, request, OAuthError("invalid_request", str(error)))
    except RemoteServiceError as error:
        get_logger().warning("entra.unavailable", reason=str(error))
        unavailable = OAuthError("temporarily_unavailable", "the keys of Microsoft are not available now")
        work = partial(_refused, call, request, unavailable)
    response = await state.run_write(work)
    state.changes.notify(call.changed)
    return response


def _identify_client(call: Call) -> _ClientRequest:
    """Returns the request with its client. Raises `PageError` if the redirect_uri is not that of the client."""
    try:
        form = form_of(call)
    except OAuthError as error:
        raise browser_login.untrusted_request(call, NAME, error.description) from None
    client = call.state.store.clients.get(form.get("client_id", ""))
    if client is None or NAME not in client.faces:
        raise browser_login.untrusted_request(call, NAME, "the client is not registered for Entra here")
    options = EntraClient.model_validate(client.faces[NAME])
    if form.get("redirect_uri") != options.redirect_uri:
        raise browser_login.untrusted_request(call, NAME, "the redirect_uri does not belong to the cloud of the client")
    return _ClientRequest(client, options, form)


def _begin_or_refuse(call: Call, request: _ClientRequest, hint: Hint) -> Response:
    try:
        return _begin_login(call, request, hint)
    except OAuthError as error:
        return _refused(call, request, error)


def _refused(call: Call, request: _ClientRequest, error: OAuthError) -> Response:
    refused_requests.note(call, NAME, error.error, error.description)
    values = {"error": error.error, "error_description": error.description}
    return _send_back(call, request.options.redirect_uri, request.form.get("state"), values)


def _begin_login(call: Call, request: _ClientRequest, hint: Hint) -> Response:
    form, state = request.form, call.state
    now = state.clock()
    acr, amr = _requested_methods(form)
    database = state.store.database
    if not first_use(database, NAME, form["id_token_hint"], now + MAX_HINT_AGE + LEEWAY):
        raise OAuthError("invalid_request", "the id_token_hint was used before")
    user = user_of(database, hint, request.options)
    details = Details(
        redirect_uri=request.options.redirect_uri,
        state=form.get("state"),
        nonce=form["nonce"],
        subject=hint.sub,
        tenant=hint.tid,
        object_id=hint.oid,
        acr=acr,
        amr=amr,
    )
    wish = Wish(
        user=user,
        lifetime=min(timedelta(seconds=state.settings.lifetime), MAX_HINT_AGE - LEEWAY),
        client=request.client.client_id,
        context=Context("Microsoft Entra ID", client_address(call.request), user_agent(call.request)),
    )
    get_logger().info(
        "entra.asked", client=request.client.client_id, tenant=hint.tid, object_id=hint.oid, user=user,
        client_request_id=one_line(form.get("client-request-id", ""))[:64],
    )  # fmt: skip
    return browser_login.begin_login(call, NAME, wish, details.model_dump(), form.get(PARAMETER))


def _check_parameters(form: Mapping[str, str]) -> None:
    if form.get("response_type") != "id_token":
        raise OAuthError("unsupported_response_type", "response_type must be id_token")
    if form.get("response_mode") != "form_post":
        raise OAuthError("invalid_request", "response_mode must be form_post")
    if "openid" not in form.get("scope", "").split():
        raise OAuthError("invalid_scope", "scope must contain openid")
    if not form.get("nonce"):
        raise OAuthError("invalid_request", "nonce is missing")
    if max(len(form.get(name, "")) for name in ("state", "nonce", "claims")) > MAX_PARAMETER_LENGTH:
        raise OAuthError("invalid_request", f"state, nonce and claims have at most {MAX_PARAMETER_LENGTH} characters")


def _requested_methods(form: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Returns the acr of the answer, and the amr values from which the answer has one."""
    try:
        requested = _Claims.model_validate(json.loads(form.get("claims", ""))).id_token
    except (ValidationError, ValueError, RecursionError):
        raise OAuthError("invalid_request", "claims does not request acr and amr of the id_token") from None
    acr = next((value for value in requested.acr.values if value in POSSESSION_ACRS), None)
    amr = tuple(value for value in requested.amr.values if value in ("fido", "hwk", "swk", "pop"))
    if acr is None or not amr:
        raise OAuthError("access_denied", "SSH cannot prove what Entra requests")
    return acr, amr


def proven_amr(requested: Collection[str], approval: Approval) -> str | None:
    """Returns the first proven amr that Entra requests. A security key of ssh is a FIDO key."""
    proven = ("hwk", "fido", "pop") if "hwk" in approval.amr else ("swk", "pop")
    return next((each for each in proven if each in requested), None)


# --- the answer


def finish(call: Call, challenge: Challenge) -> Response:
    """Returns the browser to Entra by POST, with the ID token or an error."""
    state, now = call.state, call.state.clock()
    request = browser_login.request_of(call, NAME, challenge)
    details = Details.model_validate(request.details)
    passed = browser_login.take_result(call, challenge, now)
    if passed is None or passed.approval is None or passed.user is None:
        reason = browser_login.failure_reason(challenge, now)
        return _send_error_back(call, details, reason)
    amr = proven_amr(details.amr, passed.approval)
    if amr is None:
        return _send_error_back(call, details, "the kind of the SSH key is not one that Entra requests")
    if not bind_account(state.store.database, details.tenant, details.object_id, passed.user, now):
        return _send_error_back(call, details, "another account of this tenant has this user name here")
    claims = {
        "iss": issuer(state.settings), "aud": request.client_id, "sub": details.subject, "nonce": details.nonce,
        "acr": details.acr, "amr": [amr],
    }  # fmt: skip
    return _send_back(
        call, details.redirect_uri, details.state, {"id_token": id_tokens.sign_id_token(state, now, claims)}
    )


def _send_error_back(call: Call, details: Details, reason: str) -> Response:
    refused_requests.note(call, NAME, "access_denied", reason)
    values = {"error": "access_denied", "error_description": reason}
    return _send_back(call, details.redirect_uri, details.state, values)


def _send_back(call: Call, redirect_uri: str, state: str | None, values: dict[str, str]) -> Response:
    return browser_login.form_post(call, redirect_uri, values | ({} if state is None else {"state": state}))
