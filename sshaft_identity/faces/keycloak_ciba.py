"""Keycloak's own CIBA: there Keycloak is the OpenID Provider, and it has people log in over an "authentication
channel", which is us. It asks by POST, and we call it back when the login has ended.

    POST /keycloak-ciba/CLIENT/SECRET   {"login_hint": "alice", "binding_message": "482913", ...}   -> 201

The request carries a bearer token of Keycloak's, which the call back returns: so the client's own secret stands in the
address. Where the call back goes is an option of the client. As in CIBA the code is that of who shows it: the
application that began the login chooses it, and sends it to Keycloak as `binding_message`.
"""

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError
from starlette.responses import Response
from starlette.routing import Route

from sshaft.config import Url
from sshaft.validation import first_fault
from sshaft_identity.challenges.challenge import SHORTEST, Context
from sshaft_identity.challenges.challenges import CodeTakenError, Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import UserName
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
REMEMBERED = timedelta(hours=1)
"""How long a bearer token is known to have come before."""
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")


class KeycloakCibaClient(AppOptions):
    """`notification_endpoint`: the address at which the realm is told how a login has ended."""

    notification_endpoint: Url


class ChannelRequest(Message):
    """What Keycloak sends, as far as it matters here. `login_hint`: the user's name, whatever the application gave."""

    login_hint: UserName
    binding_message: str | None = None
    acr_values: str | None = None


def ask(call: Call) -> Response:
    """`POST /keycloak-ciba/{client_id}/{secret}`. Keycloak looks at nothing but the status: 201, or it fails."""
    try:
        _ask(call)
    except OAuthError as error:
        refused_requests.note(call, NAME, error.error, error.description)
        known = error.error if error.error in ("invalid_client", "unauthorized_client") else "invalid_request"
        raise ProblemError(known, detail=error.description) from None
    return Response(status_code=201)


def _ask(call: Call) -> None:
    client, state, now = _client(call), call.state, call.state.clock()
    options = KeycloakCibaClient.model_validate(client.faces[NAME])
    token = _bearer(call)
    wanted = _wanted(call)
    bound = parse_binding_message(client, options.app or client.client_id, wanted.binding_message or "")
    wish = Wish(
        user=wanted.login_hint,
        lifetime=min(timedelta(seconds=state.settings.lifetime), _good_for(token, now)),
        client=client.client_id,
        context=Context(bound.app),
        binding=bound.binding,
        verify_required=AcrRequest(tuple((wanted.acr_values or "").split())).verify_required,
        code=bound.code,
    )
    if not first_use(state.store.database, NAME, token, now + REMEMBERED):
        raise OAuthError("invalid_request", "this bearer token came before")
    try:
        opened = logins.open_login(call, wish)
    except CodeTakenError:
        raise OAuthError("invalid_binding_message", "another login has this code: choose another") from None
    notification = Notification(
        NAME, token, if_passed={"status": "SUCCEED"}, if_failed={"status": "UNAUTHORIZED"}, is_result=True
    )
    Notifications(state.store).add(opened.challenge, client.client_id, notification)


def _client(call: Call) -> Client:
    given = call.request.path_params
    client = client_by_secret(call, Credentials(given["client_id"], given["secret"]))
    if NAME not in client.faces:
        raise OAuthError("unauthorized_client", "the client has not this face")
    return client


def _bearer(call: Call) -> str:
    kind, _, token = call.request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not _BEARER.fullmatch(token):
        raise OAuthError("invalid_request", "there is no bearer token to call back with")
    return token


def _wanted(call: Call) -> ChannelRequest:
    try:
        return ChannelRequest.model_validate_json(call.body)
    except ValidationError as error:
        raise OAuthError("invalid_request", first_fault(error)) from None


def _good_for(token: str, now: datetime) -> timedelta:
    """How long Keycloak will take the token back. Only its `exp` is read: it is Keycloak's to verify, and all that
    somebody else could do by it is to shorten a login.
    """
    try:
        middle = token.split(".")[1]
        ends = float(json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))["exp"])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return timedelta.max
    left = datetime.fromtimestamp(max(0.0, min(ends, 2.0**33)), UTC) - now
    if left < SHORTEST:
        raise OAuthError("invalid_request", "the bearer token is over, or nearly")
    return left


def _register(given: GivenOptions) -> Registration:
    client = KeycloakCibaClient.model_validate({"notification_endpoint": given["notify"][0]} | app_option(given))
    return Registration(client.model_dump(exclude_none=True))


def _checks(client: KeycloakCibaClient, reach: Reach) -> Iterator[Finding]:
    yield reach.check_host(
        client.notification_endpoint, "of the notification endpoint", "this host must reach it by https"
    )


FACE = Face(
    name=NAME,
    options=KeycloakCibaClient,
    routes=lambda _clock: [Route("/keycloak-ciba/{client_id}/{secret}", in_thread(ask), methods=["POST"])],
    providers={"keycloak-ciba": Provider(_register, (APP, NOTIFY), needs=("notify",))},
    checks=_checks,
)
