"""Serves Auth0: after the password, an Action of the tenant sends the browser here with a signed token. The browser
goes back with a signed answer.

    GET  /auth0/CLIENT?session_token=...&state=...      HS256: `aud` (us), `sub`, `user`, `exp`
    POST https://TENANT/continue?state=...  answer=...  HS256: `iss` (us), `sub`, `state`, `exp`, `result`

One key signs both, so each names its receiver: a session token cannot serve as an answer, and an answer cannot begin a
login. https://auth0.com/docs/customize/actions/redirect-with-actions
"""

import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.routing import Route

from sshaft_identity.challenges.challenge import Challenge, Context
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import UserName
from sshaft_identity.common.times import from_numeric_date
from sshaft_identity.database.used_values import first_use
from sshaft_identity.face_support import browser_login, id_tokens
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.options import AppOptions
from sshaft_identity.face_support.reach import Finding, Reach
from sshaft_identity.face_support.setup import APP, DOMAIN, GivenOptions, Provider, Registration, app_option
from sshaft_identity.web import refused_requests
from sshaft_identity.web.browsers import client_address, user_agent
from sshaft_identity.web.call import Call, Message, in_thread
from sshaft_identity.web.oauth import OAuthError, fields_of

NAME = "auth0"
ALGORITHMS = ["HS256"]
_ANSWER_LIFETIME = timedelta(minutes=2)
_MAX_TOKEN_LIFETIME = timedelta(hours=1)
LEEWAY = timedelta(minutes=1)


class Auth0Client(AppOptions):
    """`domain`: the domain of the tenant, as browsers see it. `salt`: the key of the Action depends on it."""

    domain: Annotated[
        str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$", max_length=253)
    ]
    salt: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")]


class SessionToken(Message):
    """`user` is the user name here. `sub` is the user id at Auth0, which the answer must repeat."""

    aud: str
    sub: str = Field(min_length=1, max_length=255)
    user: UserName
    exp: int | float


class Details(BaseModel):
    """The data that is stored until the login is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    state: str
    sub: str


def shared_key(codes: Codes, client_id: str, options: Auth0Client) -> str:
    """Returns the key with which the Action signs and verifies. No key is stored: another `salt` gives another key."""
    return codes.shared(NAME, client_id, options.salt)


def authorize(call: Call) -> Response:
    """`GET /auth0/{client_id}`."""
    client = call.state.store.clients.get(call.request.path_params["client_id"])
    if client is None or NAME not in client.faces:
        raise browser_login.untrusted_request(call, NAME, "the client is not registered for Auth0 here")
    options = Auth0Client.model_validate(client.faces[NAME])
    try:
        given = fields_of(call.request.url.query.encode())
        token = _decode_session_token(call, client, options, given.get("session_token", ""))
    except OAuthError as error:
        raise browser_login.untrusted_request(call, NAME, error.description) from None
    if not 0 < len(given.get("state", "")) <= 2048:
        raise browser_login.untrusted_request(call, NAME, "state is missing or too long")
    call.caller = client.client_id
    ends = from_numeric_date(token.exp) + LEEWAY
    if not first_use(call.state.store.database, NAME, given["session_token"], ends):
        raise browser_login.untrusted_request(call, NAME, "the session_token was used before")
    wish = Wish(
        user=token.user,
        lifetime=timedelta(seconds=call.state.settings.lifetime),
        client=client.client_id,
        context=Context(options.app or "Auth0", client_address(call.request), user_agent(call.request)),
    )
    details = Details(domain=options.domain, state=given["state"], sub=token.sub)
    return browser_login.begin_login(call, NAME, wish, details.model_dump())


def _decode_session_token(call: Call, client: Client, options: Auth0Client, text: str) -> SessionToken:
    key = OctKey.import_key(shared_key(call.state.store.codes, client.client_id, options))
    now = call.state.clock()
    try:
        token = SessionToken.model_validate(jwt.decode(text, key, algorithms=ALGORITHMS).claims)
    except (JoseError, ValueError):  # a ValidationError of pydantic is a ValueError
        raise OAuthError("invalid_request", "the session_token has no valid signature of the Action") from None
    if token.aud != call.state.settings.base_url:
        raise OAuthError("invalid_request", "the session_token is not for this service")
    if not now - LEEWAY < from_numeric_date(token.exp) <= now + _MAX_TOKEN_LIFETIME:
        raise OAuthError("invalid_request", "the session_token has expired")
    return token


def finish(call: Call, challenge: Challenge) -> Response:
    """Returns the browser to Auth0 by POST, so that no address contains the answer."""
    state, now = call.state, call.state.clock()
    request = browser_login.request_of(call, NAME, challenge)
    client = state.store.clients.get(request.client_id)
    if client is None or NAME not in client.faces:
        raise browser_login.already_finished()
    details = Details.model_validate(request.details)
    passed = browser_login.take_result(call, challenge, now)
    if passed is None:
        reason = browser_login.failure_reason(challenge, now)
        refused_requests.note(call, NAME, "access_denied", reason)
        outcome: dict[str, Any] = {"result": "failed", "reason": reason}
    else:
        outcome = {"result": "passed", "acr": passed.acr} | id_tokens.authentication_claims(passed)
    claims = {
        "iss": state.settings.base_url,
        "aud": details.domain,
        "sub": details.sub,
        "state": details.state,
        "iat": int(now.timestamp()),
        "exp": int((now + _ANSWER_LIFETIME).timestamp()),
    }
    options = Auth0Client.model_validate(client.faces[NAME])
    key = OctKey.import_key(shared_key(state.store.codes, client.client_id, options))
    answer = jwt.encode({"alg": ALGORITHMS[0], "typ": "JWT"}, claims | outcome, key, algorithms=ALGORITHMS)
    return_url = f"https://{details.domain}/continue?{urlencode({'state': details.state})}"
    return browser_login.form_post(call, return_url, {"answer": answer})


def _register(given: GivenOptions) -> Registration:
    options = {"domain": given["domain"][0].lower(), "salt": secrets.token_urlsafe(16)} | app_option(given)
    return Registration(Auth0Client.model_validate(options).model_dump(exclude_none=True))


def _checks(client: Auth0Client, reach: Reach) -> Iterator[Finding]:
    yield reach.check_host(f"https://{client.domain}/", "of the tenant")


FACE = Face(
    name=NAME,
    options=Auth0Client,
    routes=lambda _clock: [Route("/auth0/{client_id}", in_thread(authorize), methods=["GET"])],
    finish=finish,
    providers={"auth0": Provider(_register, (APP, DOMAIN), needs=("domain",))},
    checks=_checks,
)
