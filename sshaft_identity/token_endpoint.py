"""`POST /oauth2/token`: client_credentials (RFC 6749 §4.4), the first call of every agent and of every party that
starts logins. Errors are those of RFC 6749 §5.2.
"""

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_plus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sshaft.log import get_logger
from sshaft_identity.app_state import state_of
from sshaft_identity.clients import TOKEN_LIFETIME
from sshaft_identity.incoming import body_of

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 32


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a client named itself; `basic`: by the Authorization header."""

    client_id: str
    client_secret: str = field(repr=False)
    basic: bool


class TokenError(Exception):
    """A refusal of RFC 6749 §5.2."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


async def token(request: Request) -> Response:
    body = await body_of(request)
    try:
        return await _issue(request, body)
    except TokenError as refusal:
        return _refused(request, refusal)


async def _issue(request: Request, body: bytes) -> Response:
    form = form_of(request.headers.get("content-type", ""), body)
    credentials = credentials_of(request.headers.get("authorization"), form)
    if form.get("grant_type") != "client_credentials":
        error = "unsupported_grant_type" if form.get("grant_type") else "invalid_request"
        raise TokenError(error, "grant_type must be client_credentials")
    state = state_of(request)
    client = await run_in_threadpool(
        state.store.clients.authenticate, credentials.client_id, credentials.client_secret, state.clock()
    )
    if client is None:
        raise TokenError("invalid_client", "no such client, or not its secret")
    scopes = frozenset(form.get("scope", "").split()) or client.scopes
    if not scopes <= client.scopes:
        raise TokenError("invalid_scope", "the client is not registered for this scope")
    issued = await run_in_threadpool(state.store.clients.issue_token, client, scopes, state.clock())
    if issued is None:
        raise TokenError("invalid_client", "no such client, or not its secret")
    scope = " ".join(sorted(scopes))
    get_logger().info("token.issued", client=client.client_id, scope=scope)
    return JSONResponse(
        {
            "access_token": issued,
            "token_type": "Bearer",
            "expires_in": int(TOKEN_LIFETIME.total_seconds()),
            "scope": scope,
        },
        headers={"Pragma": "no-cache"},
    )


def form_of(content_type: str, body: bytes) -> dict[str, str]:
    """The fields, none of them twice (RFC 6749 §3.2); those without a value count as left out."""
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise TokenError("invalid_request", f"the body must be {FORM}")
    try:
        pairs = parse_qsl(body.decode(), max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise TokenError("invalid_request", "the body is no form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise TokenError("invalid_request", "a parameter came twice")
    return form


def credentials_of(authorization: str | None, form: dict[str, str]) -> Credentials:
    """`client_secret_basic` or `client_secret_post` (RFC 6749 §2.3.1), never both."""
    if authorization is None:
        if not form.get("client_id") or not form.get("client_secret"):
            raise TokenError("invalid_client", "client_id and client_secret are missing")
        return Credentials(form["client_id"], form["client_secret"], basic=False)
    kind, _, encoded = authorization.partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        kind, name, colon, secret = "", "", "", ""
    if kind.lower() != "basic" or not colon:
        raise TokenError("invalid_client", "the Authorization header is not Basic")
    if "client_secret" in form or form.get("client_id", unquote_plus(name)) != unquote_plus(name):
        raise TokenError("invalid_request", "the client authenticated itself in two ways")
    return Credentials(unquote_plus(name), unquote_plus(secret), basic=True)


def _refused(request: Request, refusal: TokenError) -> Response:
    get_logger().warning("token.refused", error=refusal.error, reason=refusal.description)
    headers = {"Pragma": "no-cache"}
    status = 400
    if refusal.error == "invalid_client":
        status = 401
        if "authorization" in request.headers:
            headers["WWW-Authenticate"] = 'Basic realm="sshaft"'
    return JSONResponse({"error": refusal.error, "error_description": refusal.description}, status, headers)
