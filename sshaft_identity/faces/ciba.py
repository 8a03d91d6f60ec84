"""Serves clients that begin a login for a person elsewhere: OpenID Client-Initiated Backchannel Authentication 1.0.

    POST /oauth2/bc-authorize   begins the login (§7)
    POST /oauth2/token          returns the result (§10.1), after the person has logged in by SSH

The person sees no page of ours. So the client chooses the code, shows it, and sends it as `binding_message`.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft.config import Url
from sshaft_identity.challenges.challenge import MAX_LIFETIME, MIN_LIFETIME, RESULT_GRACE, Context, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.face_support import id_tokens
from sshaft_identity.face_support.assurance import AcrRequest
from sshaft_identity.face_support.binding_message import parse_binding_message
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.face_support.notifications import Notification, Notifications
from sshaft_identity.face_support.options import AppOptions
from sshaft_identity.face_support.reach import Finding, Reach
from sshaft_identity.face_support.setup import (
    APP,
    JWKS,
    NOTIFY,
    PAIRWISE,
    GivenOptions,
    Provider,
    Registration,
    app_option,
    oauth_registration,
)
from sshaft_identity.settings import Settings
from sshaft_identity.web import logins
from sshaft_identity.web.call import Call, in_thread
from sshaft_identity.web.oauth import OAuthError, answers_errors, client_of, form_of

NAME = "ciba"
_GRANT_TYPE = "urn:openid:params:grant-type:ciba"
_POLL_INTERVAL = timedelta(seconds=5)
_POLL_TOLERANCE = timedelta(seconds=1)
"""A poll may come this much too early, because requests travel at different speeds."""
_MAX_ACR_LENGTH = 4096
_HINTS = ("login_hint", "id_token_hint", "login_hint_token")
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{1,1024}=*")
_SECONDS = re.compile(r"[0-9]{1,9}")


class CibaClient(AppOptions):
    """`notification_endpoint`: the address that is notified when a login has ended (ping). None: the client polls."""

    notification_endpoint: Url | None = None


class Details(BaseModel):
    """The data that is stored until the client fetches the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: str
    acr: tuple[str, ...]


def metadata(settings: Settings) -> dict[str, Any]:
    """Returns the metadata of CIBA §4."""
    return {
        "backchannel_authentication_endpoint": f"{settings.base_url}/oauth2/bc-authorize",
        "backchannel_token_delivery_modes_supported": ["poll", "ping"],
        "backchannel_user_code_parameter_supported": False,
    }


# --- the request


def _authorize(call: Call) -> Response:
    """`POST /oauth2/bc-authorize` (§7)."""
    form = form_of(call)
    client = client_of(call, form)
    options, state = _options(client), call.state
    token = _notification_token(options, form)
    wish, details = _parse_request(call, client, options, form)
    now = state.clock()
    challenge, requests = logins.open_login(call, wish).challenge, FaceRequests(state.store.database, NAME)
    requests.add(challenge.id, client.client_id, details.model_dump(), now)
    auth_req_id = requests.issue_handle(challenge.id, challenge.expires_at + RESULT_GRACE)
    if auth_req_id is None:
        raise ValueError("the new challenge has a handle already")
    if token is not None:
        body = {"auth_req_id": auth_req_id}
        Notifications(state.store).add(
            challenge, client.client_id, Notification(NAME, token, if_passed=body, if_failed=body)
        )
    return JSONResponse(
        {
            "auth_req_id": auth_req_id,
            "expires_in": int(wish.lifetime.total_seconds()),
            "interval": int(_POLL_INTERVAL.total_seconds()),
        },
        headers={"Pragma": "no-cache"},
    )


bc_authorize = answers_errors(_authorize, NAME)


def _options(client: Client) -> CibaClient:
    if NAME not in client.faces:
        raise OAuthError("unauthorized_client", "the client is not registered for CIBA")
    return CibaClient.model_validate(client.faces[NAME])


def _notification_token(options: CibaClient, form: Mapping[str, str]) -> str | None:
    """Returns the token by which the client recognizes our notification (§7.1). Returns None if the client polls."""
    if options.notification_endpoint is None:
        return None
    token = form.get("client_notification_token", "")
    if len(token) > 1024 or not _BEARER.fullmatch(token):
        raise OAuthError(
            "invalid_request", "client_notification_token must be a bearer token of at most 1024 characters"
        )
    return token


def _parse_request(call: Call, client: Client, options: CibaClient, form: Mapping[str, str]) -> tuple[Wish, Details]:
    if "request" in form:
        raise OAuthError("invalid_request", "request is not supported")
    scope = form.get("scope", "").split()
    if "openid" not in scope:
        raise OAuthError("invalid_scope", "scope must contain openid")
    acr = form.get("acr_values", "")
    if len(acr) > _MAX_ACR_LENGTH:
        raise OAuthError("invalid_request", f"acr_values has at most {_MAX_ACR_LENGTH} characters")
    acr_request = AcrRequest(tuple(acr.split()))
    binding_message = parse_binding_message(client, options.app or client.client_id, form.get("binding_message", ""))
    wish = Wish(
        user=_requested_user(call, client, form),
        lifetime=_lifetime(form, call.state.settings),
        client=client.client_id,
        context=Context(binding_message.app),
        binding=binding_message.binding,
        verify_required=acr_request.verify_required,
        code=binding_message.code,
    )
    return wish, Details(scope=" ".join(each for each in id_tokens.SCOPES if each in scope), acr=acr_request.values)


def _requested_user(call: Call, client: Client, form: Mapping[str, str]) -> str:
    """Returns the user that the one hint names (§7.1). The client does not learn whether the user exists."""
    if sum(hint in form for hint in _HINTS) != 1:
        raise OAuthError("invalid_request", f"there must be exactly one of {', '.join(_HINTS)}")
    if "login_hint_token" in form:
        raise OAuthError("invalid_request", "login_hint_token is not supported")
    user: str | None = form.get("login_hint")
    if user is None:
        subject = id_tokens.subject_of_hint(call, client, form["id_token_hint"])
        identifier = call.state.store.subjects.user_id_of(client, subject)
        user = None if identifier is None else call.state.store.users.name_of(identifier)
    if user is None or not re.fullmatch(USER_PATTERN, user):
        raise OAuthError("invalid_request", "the hint is not a user name")
    return user


def _lifetime(form: Mapping[str, str], settings: Settings) -> timedelta:
    """Returns the requested lifetime (§7.1), within our limits."""
    requested = form.get("requested_expiry", str(settings.lifetime))
    if not _SECONDS.fullmatch(requested) or int(requested) == 0:
        raise OAuthError("invalid_request", "requested_expiry must be a number of seconds")
    return min(MAX_LIFETIME, max(MIN_LIFETIME, timedelta(seconds=int(requested))))


# --- the result


def tokens(call: Call, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
    """Answers the grant of §10.1: returns the result, once, to the client that began the login."""
    _options(client)
    state, now = call.state, call.state.clock()
    requests = FaceRequests(state.store.database, NAME)
    if "auth_req_id" not in form:
        raise OAuthError("invalid_request", "auth_req_id is missing")
    request = requests.of_handle(form["auth_req_id"])
    challenge = None if request is None else state.store.challenges.get(request.id)
    if request is None or challenge is None or request.client_id != client.client_id:
        raise OAuthError("invalid_grant", "there is no such auth_req_id of this client")
    if challenge.state_at(now) is State.PENDING and not requests.record_poll(
        request.id, now, _POLL_INTERVAL - _POLL_TOLERANCE
    ):
        raise OAuthError("slow_down", f"wait {int(_POLL_INTERVAL.total_seconds())} seconds between two polls")
    _raise_unless_passed(challenge.state_at(now))
    if request.handle_until is None or now >= request.handle_until:
        raise OAuthError("expired_token", "the result was not fetched in time")
    after = logins.consume(call, challenge.id, client.client_id)
    if after is None:
        raise OAuthError(*_ERRORS[State.CONSUMED])
    Notifications(state.store).delete(after.id)
    details = Details.model_validate(request.details)
    return id_tokens.token_response(call, client, after, details.scope, AcrRequest(details.acr))


_ERRORS = {
    State.PENDING: ("authorization_pending", "the person has not logged in by SSH yet"),
    State.EXPIRED: ("expired_token", "no SSH login passed in time"),
    State.REJECTED: ("access_denied", "the person denied the login, or entered too many wrong codes"),
    State.CANCELLED: ("access_denied", "a newer login replaced this login, or it was cancelled"),
    State.CONSUMED: ("invalid_grant", "the result was fetched before"),
}


def _raise_unless_passed(state: State) -> None:
    """Raises the `OAuthError` of §11 for a login that has not passed, or whose result was fetched."""
    if state in _ERRORS:
        raise OAuthError(*_ERRORS[state])


def _register(given: GivenOptions) -> Registration:
    notify = {"notification_endpoint": given["notify"][0]} if given.get("notify") else {}
    client = CibaClient.model_validate(app_option(given) | notify)
    return oauth_registration(given, client.model_dump(exclude_none=True))


def _checks(client: CibaClient, reach: Reach) -> Iterator[Finding]:
    if client.notification_endpoint is not None:
        yield reach.check_host(client.notification_endpoint, "of the notification endpoint", "this host must reach it")


FACE = Face(
    name=NAME,
    options=CibaClient,
    routes=lambda _clock: [Route("/oauth2/bc-authorize", in_thread(bc_authorize), methods=["POST"])],
    grants={_GRANT_TYPE: tokens},
    metadata=metadata,
    providers={"generic-ciba": Provider(_register, (APP, PAIRWISE, JWKS, NOTIFY))},
    checks=_checks,
)
