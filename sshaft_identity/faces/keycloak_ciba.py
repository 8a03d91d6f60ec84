"""Serves Keycloak's own CIBA, as its "authentication channel". Keycloak is the OpenID Provider of the application; it
asks here for an SSH login, and we call it back when the login has ended.

    POST /keycloak-ciba/CLIENT/SECRET   {"login_hint": "alice", "binding_message": "482913", ...}   -> 201
    POST to the call-back address       {"status": "SUCCEED"} or {"status": "UNAUTHORIZED"}

The Authorization header of the request has a bearer token that the call-back returns. So the secret of the client is in
the address. The call-back address is an option of the client. The application chooses the code and shows it.
https://www.keycloak.org/docs/latest/server_admin/
"""

import base64
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from pydantic import ValidationError
from starlette.responses import Response
from starlette.routing import Route

from sshaft.config import Url
from sshaft.validation import first_fault
from sshaft_identity.challenges.challenge import MIN_LIFETIME, Context
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import UserName
from sshaft_identity.common.times import from_numeric_date
from sshaft_identity.database.used_values import first_use
from sshaft_identity.face_support.assurance import AcrRequest
from sshaft_identity.face_support.binding_message import parse_binding_message
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.notifications import Notification, Notifications
from sshaft_identity.face_support.options import AppOptions
from sshaft_identity.face_support.reach import Finding, Reach
from sshaft_identity.face_support.setup import APP, NOTIFY, GivenOptions, Provider, Registration, app_option
from sshaft_identity.web import logins, refused_requests
from sshaft_identity.web.call import Call, Message, in_thread
from sshaft_identity.web.oauth import Credentials, OAuthError, client_by_secret
from sshaft_identity.web.problem import ProblemError

NAME = "keycloak_ciba"
_TOKEN_MEMORY = timedelta(hours=1)
"""A bearer token that comes again within this time is refused."""
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")


class KeycloakCibaClient(AppOptions):
    """`notification_endpoint`: the call-back address of the realm."""

    notification_endpoint: Url


class ChannelRequest(Message):
    """The members of Keycloak's request that are used here. `login_hint` is always the user name."""

    login_hint: UserName
    binding_message: str | None = None
    acr_values: str | None = None


def authorize(call: Call) -> Response:
    """`POST /keycloak-ciba/{client_id}/{secret}`. Keycloak reads the status only: 201 is success."""
    try:
        _begin_login(call)
    except OAuthError as error:
        refused_requests.note(call, NAME, error.error, error.description)
        known = error.error if error.error in ("invalid_client", "unauthorized_client") else "invalid_request"
        raise ProblemError(known, detail=error.description) from None
    return Response(status_code=201)


def _begin_login(call: Call) -> None:
    client, state, now = _client_of_path(call), call.state, call.state.clock()
    options = KeycloakCibaClient.model_validate(client.faces[NAME])
    token = _bearer_token(call)
    request = _parse_request(call)
    binding_message = parse_binding_message(client, options.app or client.client_id, request.binding_message or "")
    wish = Wish(
        user=request.login_hint,
        lifetime=min(timedelta(seconds=state.settings.lifetime), _lifetime_of_token(token, now)),
        client=client.client_id,
        context=Context(binding_message.app),
        binding=binding_message.binding,
        verify_required=AcrRequest(tuple((request.acr_values or "").split())).verify_required,
        code=binding_message.code,
    )
    if not first_use(state.store.database, NAME, token, now + _TOKEN_MEMORY):
        raise OAuthError("invalid_request", "this bearer token was used before")
    challenge = logins.open_login(call, wish).challenge
    notification = Notification(
        NAME, token, if_passed={"status": "SUCCEED"}, if_failed={"status": "UNAUTHORIZED"}, is_result=True
    )
    Notifications(state.store).add(challenge, client.client_id, notification)


def _client_of_path(call: Call) -> Client:
    given = call.request.path_params
    client = client_by_secret(call, Credentials(given["client_id"], given["secret"]))
    if NAME not in client.faces:
        raise OAuthError("unauthorized_client", "the client is not registered for this face")
    return client


def _bearer_token(call: Call) -> str:
    kind, _, token = call.request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not _BEARER.fullmatch(token):
        raise OAuthError("invalid_request", "there is no bearer token for the call-back")
    return token


def _parse_request(call: Call) -> ChannelRequest:
    try:
        return ChannelRequest.model_validate_json(call.body)
    except ValidationError as error:
        raise OAuthError("invalid_request", first_fault(error)) from None


def _lifetime_of_token(token: str, now: datetime) -> timedelta:
    """Returns the time until Keycloak's token expires. The token is not verified here: with a false `exp` a caller can
    only shorten the login.
    """
    try:
        middle = token.split(".")[1]
        expires_at = float(json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))["exp"])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return timedelta.max
    left = from_numeric_date(expires_at) - now
    if left < MIN_LIFETIME:
        raise OAuthError("invalid_request", "the bearer token has expired, or expires too soon")
    return left


def _register(given: GivenOptions) -> Registration:
    client = KeycloakCibaClient.model_validate({"notification_endpoint": given["notify"][0]} | app_option(given))
    return Registration(client.model_dump(exclude_none=True))


def _checks(client: KeycloakCibaClient, reach: Reach) -> Iterator[Finding]:
    yield reach.check_host(client.notification_endpoint, "of the notification endpoint", "this host must reach it")


FACE = Face(
    name=NAME,
    options=KeycloakCibaClient,
    routes=lambda _clock: [Route("/keycloak-ciba/{client_id}/{secret}", in_thread(authorize), methods=["POST"])],
    providers={"keycloak-ciba": Provider(_register, (APP, NOTIFY), needs=("notify",))},
    checks=_checks,
)
