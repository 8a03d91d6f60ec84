"""Logins that a program begins for a person who is somewhere else (OpenID Client-Initiated Backchannel Authentication
1.0): it asks by `POST /oauth2/bc-authorize`, the person comes by SSH, it fetches the result from the token endpoint.

Nothing of ours is shown to the person, so the client shows the code: it chooses one and sends it as `binding_message`.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft.config import Url
from sshaft_identity.challenges.challenge import LONGEST, SHORTEST, Context, State
from sshaft_identity.challenges.challenges import CodeTakenError, Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.face_support import id_tokens
from sshaft_identity.face_support.assurance import Wanted
from sshaft_identity.face_support.binding_message import bound_by
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.face_support.notifications import Notice, Pings
from sshaft_identity.face_support.options import AppOptions
from sshaft_identity.face_support.reach import Finding, Reach
from sshaft_identity.face_support.setup import (
    APP,
    JWKS,
    NOTIFY,
    PAIRWISE,
    Given,
    Provider,
    Registration,
    app_of,
    oauth_registration,
)
from sshaft_identity.settings import Settings
from sshaft_identity.web import logins
from sshaft_identity.web.call import Call, in_thread
from sshaft_identity.web.oauth import OAuthError, answers_errors, client_of, form_of

NAME = "ciba"
GRANT = "urn:openid:params:grant-type:ciba"
INTERVAL = timedelta(seconds=5)
EARLY = timedelta(seconds=1)
"""By how much a poll may be too soon: on its way to us one takes longer than the next."""
GRACE = timedelta(minutes=1)
"""For the client to come for what ssh has passed in the last moment."""
LONGEST_ACR = 4096
_HINTS = ("login_hint", "id_token_hint", "login_hint_token")
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{1,1024}=*")
_SECONDS = re.compile(r"[0-9]{1,9}")


class CibaClient(AppOptions):
    """`notification_endpoint`: the address at which the client is told that a login has ended (ping). None: the client
    asks (poll).
    """

    notification_endpoint: Url | None = None


class Details(BaseModel):
    """What is remembered of a request until its result is fetched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: str
    acr: tuple[str, ...]


def metadata(settings: Settings) -> dict[str, Any]:
    """§4."""
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
    wish, details = _checked(call, client, options, form)
    now = state.clock()
    try:
        opened = logins.open_login(call, wish)
    except CodeTakenError:
        raise OAuthError("invalid_binding_message", "another login has this code: choose another") from None
    challenge, requests = opened.challenge, FaceRequests(state.store.database, NAME)
    requests.add(challenge.id, client.client_id, details.model_dump(), now)
    auth_req_id = requests.give_handle(challenge.id, challenge.expires_at + GRACE)
    if auth_req_id is None:
        raise ValueError("a new challenge has its handle already")
    if token is not None:
        told = {"auth_req_id": auth_req_id}
        Pings(state.store).add(challenge, client.client_id, Notice(NAME, token, passed=told, failed=told))
    return JSONResponse(
        {
            "auth_req_id": auth_req_id,
            "expires_in": int(wish.lifetime.total_seconds()),
            "interval": int(INTERVAL.total_seconds()),
        },
        headers={"Pragma": "no-cache"},
    )


bc_authorize = answers_errors(_authorize, NAME)


def _options(client: Client) -> CibaClient:
    if NAME not in client.faces:
        raise OAuthError("unauthorized_client", "the client is not registered for CIBA")
    return CibaClient.model_validate(client.faces[NAME])


def _notification_token(options: CibaClient, form: Mapping[str, str]) -> str | None:
    """§7.1: what the client will know our notification by; None where it wants none."""
    if options.notification_endpoint is None:
        return None
    token = form.get("client_notification_token", "")
    if len(token) > 1024 or not _BEARER.fullmatch(token):
        raise OAuthError("invalid_request", "client_notification_token must be a bearer token of at most 1024 letters")
    return token


def _checked(call: Call, client: Client, options: CibaClient, form: Mapping[str, str]) -> tuple[Wish, Details]:
    if "request" in form:
        raise OAuthError("invalid_request", "request is not supported")
    scope = form.get("scope", "").split()
    if "openid" not in scope:
        raise OAuthError("invalid_scope", "scope must hold openid")
    acr = form.get("acr_values", "")
    if len(acr) > LONGEST_ACR:
        raise OAuthError("invalid_request", f"acr_values has at most {LONGEST_ACR} characters")
    wanted = Wanted(tuple(acr.split()))
    bound = bound_by(client, options.app or client.client_id, form.get("binding_message", ""))
    wish = Wish(
        user=_user(call, client, form),
        lifetime=_lifetime(form, call.state.settings),
        client=client.client_id,
        context=Context(bound.app),
        binding=bound.binding,
        verify_required=wanted.verify_required,
        code=bound.code,
    )
    return wish, Details(scope=" ".join(each for each in id_tokens.SCOPES if each in scope), acr=wanted.values)


def _user(call: Call, client: Client, form: Mapping[str, str]) -> str:
    """Whose login it is to be (§7.1: exactly one hint). Whether there is such a person, nobody is told."""
    if sum(hint in form for hint in _HINTS) != 1:
        raise OAuthError("invalid_request", f"there must be exactly one of {', '.join(_HINTS)}")
    if "login_hint_token" in form:
        raise OAuthError("invalid_request", "login_hint_token is not supported")
    user: str | None = form.get("login_hint")
    if user is None:
        subject = id_tokens.hinted(call, client, form["id_token_hint"])
        user = call.state.store.subjects.user_of(client, subject)
    if user is None or not re.fullmatch(USER_PATTERN, user):
        raise OAuthError("invalid_request", "the hint is no user name")
    return user


def _lifetime(form: Mapping[str, str], settings: Settings) -> timedelta:
    """§7.1: what the client asks for, as far as we go with it."""
    asked = form.get("requested_expiry", str(settings.lifetime))
    if not _SECONDS.fullmatch(asked) or int(asked) == 0:
        raise OAuthError("invalid_request", "requested_expiry must be a number of seconds")
    return min(LONGEST, max(SHORTEST, timedelta(seconds=int(asked))))


# --- the result


def tokens(call: Call, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
    """The grant of §10.1: the result, once, for the client that asked."""
    _options(client)
    state, now = call.state, call.state.clock()
    requests = FaceRequests(state.store.database, NAME)
    if "auth_req_id" not in form:
        raise OAuthError("invalid_request", "auth_req_id is missing")
    request = requests.of_handle(form["auth_req_id"])
    challenge = None if request is None else state.store.challenges.get(request.id)
    if request is None or challenge is None or request.client_id != client.client_id:
        raise OAuthError("invalid_grant", "no such auth_req_id, or not this client's")
    if challenge.state_at(now) is State.PENDING and not requests.poll(request.id, now, INTERVAL - EARLY):
        raise OAuthError("slow_down", f"wait {int(INTERVAL.total_seconds())} seconds longer, from now on")
    _require_passed(challenge.state_at(now))
    if request.handle_until is None or now >= request.handle_until:
        raise OAuthError("expired_token", "the result was not fetched in time")
    after = logins.consume(call, challenge.id, client.client_id)
    if after is None:
        raise OAuthError(*_ERRORS[State.CONSUMED])
    Pings(state.store).forget(after.id)
    details = Details.model_validate(request.details)
    return id_tokens.answer(call, client, after, details.scope, Wanted(details.acr))


_ERRORS = {
    State.PENDING: ("authorization_pending", "the person has not come by SSH yet"),
    State.EXPIRED: ("expired_token", "nobody came by SSH in time"),
    State.REJECTED: ("access_denied", "the person has denied the login, or too many wrong codes came"),
    State.CANCELLED: ("access_denied", "a newer login took its place, or it was cancelled"),
    State.CONSUMED: ("invalid_grant", "the result was fetched before"),
}


def _require_passed(state: State) -> None:
    """§11."""
    if state in _ERRORS:
        raise OAuthError(*_ERRORS[state])


def _register(given: Given) -> Registration:
    notify = {"notification_endpoint": given["notify"][0]} if given.get("notify") else {}
    client = CibaClient.model_validate(app_of(given) | notify)
    return oauth_registration(given, client.model_dump(exclude_none=True))


def _checks(client: CibaClient, reach: Reach) -> Iterator[Finding]:
    if client.notification_endpoint is not None:
        yield reach.is_there(client.notification_endpoint, "that is told of ends of logins", "let this host call it")


FACE = Face(
    name=NAME,
    options=CibaClient,
    routes=lambda _clock: [Route("/oauth2/bc-authorize", in_thread(bc_authorize), methods=["POST"])],
    grants={GRANT: tokens},
    metadata=metadata,
    providers={"generic-ciba": Provider(_register, (APP, PAIRWISE, JWKS, NOTIFY))},
    checks=_checks,
)
