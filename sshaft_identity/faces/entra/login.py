"""Microsoft Entra ID's external MFA: Entra has taken the password and sends the browser here for a second step.

What it asks and wants back is its own profile of OpenID Connect's implicit flow: everything by POST, a hint signed by
Microsoft that says who it is, and exactly one acr and one amr in the answer.
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

from sshaft.errors import IdentityServiceError
from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import Approval, Challenge, Context
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import one_line
from sshaft_identity.database.used_values import first_use
from sshaft_identity.face_support import browser_login, id_tokens
from sshaft_identity.face_support.assurance import POSSESSION
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.faces.entra.accounts import bind_account, user_of
from sshaft_identity.faces.entra.hints import LEEWAY, WINDOW, EntraHints, Hint
from sshaft_identity.faces.entra.options import NAME, EntraClient
from sshaft_identity.settings import Settings
from sshaft_identity.web import refused_requests
from sshaft_identity.web.browsers import client_address, user_agent
from sshaft_identity.web.call import Call, body_of
from sshaft_identity.web.html import PageError
from sshaft_identity.web.oauth import OAuthError, form_of
from sshaft_identity.web.state import state_of
from sshaft_oidc.remote_keys import OpenIdError, Wire

_LONGEST = 4096


class Details(BaseModel):
    """What is remembered of a request until it is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redirect_uri: str
    state: str | None
    nonce: str
    subject: str
    tenant: str
    object_id: str
    acr: str
    amr: tuple[str, ...]


class _Values(Wire):
    essential: bool = False
    values: list[str] = Field(max_length=64)


class _IdTokenClaims(Wire):
    acr: _Values
    amr: _Values


class _Claims(Wire):
    id_token: _IdTokenClaims


def issuer(settings: Settings) -> str:
    return f"{settings.base_url}/entra"


# --- the request


@dataclass(frozen=True, slots=True)
class _Asked:
    client: Client
    options: EntraClient
    form: Mapping[str, str]


async def authorize(hints: EntraHints, request: Request) -> Response:
    """`POST /entra/authorize`: from another site, so that no cookie of ours comes with it."""
    state, call = state_of(request), Call(request, await body_of(request))
    asked = await run_in_threadpool(_asked, call)
    work: Callable[[], Response]
    try:
        _check_parameters(asked.form)
        check = partial(hints.checked, asked.form.get("id_token_hint", ""), asked.options)
        # in a thread of the few that wait for Microsoft: a slow one must not hold up other logins
        hint = await anyio.to_thread.run_sync(check, limiter=hints.limiter)
        work = partial(_begun, call, asked, hint)
    except OAuthError as error:
        work = partial(_refused, call, asked, error)
    except OpenIdError as error:
        work = partial(_refused, call, asked, OAuthError("invalid_request", str(error)))
    except IdentityServiceError as error:
        get_logger().warning("entra.unavailable", reason=str(error))
        away = OAuthError("temporarily_unavailable", "the keys of Microsoft cannot be had now")
        work = partial(_refused, call, asked, away)
    response = await state.run_write(work)
    state.changes.notify(call.changed)
    return response


def _asked(call: Call) -> _Asked:
    """Raises `PageError`: a request that cannot be trusted to name its client must not lead anywhere."""
    try:
        form = form_of(call)
    except OAuthError as error:
        raise _page(call, error.description) from None
    client = call.state.store.clients.get(form.get("client_id", ""))
    if client is None or NAME not in client.faces:
        raise _page(call, "the client is not registered for Entra here")
    options = EntraClient.model_validate(client.faces[NAME])
    if form.get("redirect_uri") != options.redirect_uri:
        raise _page(call, "the redirect_uri is not that of the client's cloud")
    return _Asked(client, options, form)


def _page(call: Call, reason: str) -> PageError:
    refused_requests.note(call, NAME, "invalid_request", reason)
    sentence = f"Entra ID is not set up rightly for this service: {reason}. Tell your administrator."
    return PageError(400, "This login cannot begin", sentence)


def _begun(call: Call, asked: _Asked, hint: Hint) -> Response:
    try:
        return _begin(call, asked, hint)
    except OAuthError as error:
        return _refused(call, asked, error)


def _refused(call: Call, asked: _Asked, error: OAuthError) -> Response:
    refused_requests.note(call, NAME, error.error, error.description)
    values = {"error": error.error, "error_description": error.description}
    return _back(call, asked.options.redirect_uri, asked.form.get("state"), values)


def _begin(call: Call, asked: _Asked, hint: Hint) -> Response:
    form, state = asked.form, call.state
    now = state.clock()
    acr, amr = _wanted(form)
    database = state.store.database
    if not first_use(database, NAME, form["id_token_hint"], now + WINDOW + LEEWAY):
        raise OAuthError("invalid_request", "the id_token_hint came before")
    user = user_of(database, hint, asked.options)
    details = Details(
        redirect_uri=asked.options.redirect_uri,
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
        lifetime=min(timedelta(seconds=state.settings.lifetime), WINDOW - LEEWAY),
        client=asked.client.client_id,
        context=Context("Microsoft Entra ID", client_address(call.request), user_agent(call.request)),
    )
    get_logger().info(
        "entra.asked", client=asked.client.client_id, tenant=hint.tid, object_id=hint.oid, user=user,
        client_request_id=one_line(form.get("client-request-id", ""))[:64],
    )  # fmt: skip
    return browser_login.begin(call, NAME, wish, details.model_dump())


def _check_parameters(form: Mapping[str, str]) -> None:
    if form.get("response_type") != "id_token":
        raise OAuthError("unsupported_response_type", "response_type must be id_token")
    if form.get("response_mode") != "form_post":
        raise OAuthError("invalid_request", "response_mode must be form_post")
    if "openid" not in form.get("scope", "").split():
        raise OAuthError("invalid_scope", "scope must hold openid")
    if not form.get("nonce"):
        raise OAuthError("invalid_request", "nonce is missing")
    if max(len(form.get(name, "")) for name in ("state", "nonce", "claims")) > _LONGEST:
        raise OAuthError("invalid_request", f"state, nonce and claims have at most {_LONGEST} characters")


def _wanted(form: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The acr to answer, and the amr values of which one is to be answered."""
    try:
        wanted = _Claims.model_validate(json.loads(form.get("claims", ""))).id_token
    except (ValidationError, ValueError, RecursionError):
        raise OAuthError("invalid_request", "claims does not ask for acr and amr of the id_token") from None
    acr = next((value for value in wanted.acr.values if value in POSSESSION), None)
    amr = tuple(value for value in wanted.amr.values if value in ("fido", "hwk", "swk", "pop"))
    if acr is None or not amr:
        raise OAuthError("access_denied", "what Entra asks for cannot be proven by SSH")
    return acr, amr


def method(wanted: Collection[str], approval: Approval) -> str | None:
    """The one amr that is asked for and was proven. A security key of ssh is a FIDO key."""
    honest = ("hwk", "fido", "pop") if "hwk" in approval.amr else ("swk", "pop")
    return next((each for each in honest if each in wanted), None)


# --- the answer


def finish(call: Call, challenge: Challenge) -> Response:
    """Back to Entra, with the ID token or with an error; both by POST."""
    state, now = call.state, call.state.clock()
    request = FaceRequests(state.store.database, NAME).get(challenge.id)
    if request is None:
        raise browser_login.used()
    call.caller = request.client_id
    details = Details.model_validate(request.details)
    passed = browser_login.taken(call, challenge, now)
    if passed is None or passed.approval is None or passed.user is None:
        reason = browser_login.reason(challenge, now)
        return _failed(call, details, reason)
    amr = method(details.amr, passed.approval)
    if amr is None:
        return _failed(call, details, "the key that was used is of no kind that Entra asks for")
    if not bind_account(state.store.database, details.tenant, details.object_id, passed.user, now):
        return _failed(call, details, "another account of this tenant has this user name here")
    claims = {
        "iss": issuer(state.settings), "aud": request.client_id, "sub": details.subject, "nonce": details.nonce,
        "acr": details.acr, "amr": [amr],
    }  # fmt: skip
    return _back(call, details.redirect_uri, details.state, {"id_token": id_tokens.signed(state, now, claims)})


def _failed(call: Call, details: Details, reason: str) -> Response:
    refused_requests.note(call, NAME, "access_denied", reason)
    values = {"error": "access_denied", "error_description": reason}
    return _back(call, details.redirect_uri, details.state, values)


def _back(call: Call, redirect_uri: str, state: str | None, values: dict[str, str]) -> Response:
    return browser_login.post_back(call, redirect_uri, values | ({} if state is None else {"state": state}))
