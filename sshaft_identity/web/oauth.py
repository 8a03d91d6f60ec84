"""Reads OAuth forms (RFC 6749 §3.2), authenticates clients (§2.3, RFC 7523 §2.2) and answers errors (§5.2).
Every refusal is one event in the audit log.
"""

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_plus

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from sshaft.log import get_logger
from sshaft_identity.clients.access_tokens import TOKEN_LIFETIME
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.times import from_numeric_date
from sshaft_identity.database.used_values import first_use
from sshaft_identity.web import refused_requests
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.call import Call, Work

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 32
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")
_MAX_ASSERTION_LIFETIME = timedelta(hours=1)
LEEWAY = timedelta(seconds=60)
Grant = Callable[[Call, Client, Mapping[str, str]], dict[str, Any]]
"""Returns the answer for an authenticated client and its form. Raises `OAuthError`."""
_PENDING_ERRORS = ("authorization_pending", "slow_down")
"""Answers to a client that asks while the login is pending. They are no refusals and are not recorded."""


class OAuthError(Exception):
    """A refusal as defined by RFC 6749 §5.2 and by the standards that extend it."""

    def __init__(self, error: str, description: str, *, status: int | None = None) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status or (401 if error == "invalid_client" else 400)


def answers_errors(work: Work, face: str = "oauth") -> Work:
    """Returns the endpoint, with each `OAuthError` turned into an answer of RFC 6749 §5.2."""

    @wraps(work)
    def answer(call: Call) -> Response:
        try:
            return work(call)
        except OAuthError as error:
            if error.error not in _PENDING_ERRORS:
                refused_requests.note(call, face, error.error, error.description)
            return error_answer(call, error)

    return answer


def error_answer(call: Call, error: OAuthError) -> Response:
    headers = {"Pragma": "no-cache"}
    if error.error == "invalid_client" and "authorization" in call.request.headers:
        headers["WWW-Authenticate"] = 'Basic realm="sshaft"'
    return JSONResponse({"error": error.error, "error_description": error.description}, error.status, headers)


def form_of(call: Call) -> dict[str, str]:
    """Returns the form fields. A field without a value counts as absent, and none may occur twice (RFC 6749 §3.2)."""
    if call.request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise OAuthError("invalid_request", f"the body must be {FORM}")
    return fields_of(call.body)


def fields_of(text: bytes, *, errors: Literal["strict", "replace"] = "strict") -> dict[str, str]:
    """Returns the fields of a form. `errors="replace"`: a value may be in another encoding than UTF-8."""
    try:
        pairs = parse_qsl(text.decode(errors=errors), max_num_fields=MAX_FIELDS, errors=errors)
    except ValueError:
        raise OAuthError("invalid_request", "the parameters are no form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "a parameter came twice")
    return form


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client's id and secret, as the request sent them."""

    client_id: str
    client_secret: str = field(repr=False)


def client_of(call: Call, form: Mapping[str, str]) -> Client:
    """Returns the client that sent this form, authenticated by its secret or its key. Raises `OAuthError`."""
    if "client_assertion" in form or "client_assertion_type" in form:
        return admitted(call, _by_assertion(call, form))
    return client_by_secret(call, credentials_of(call.request.headers.get("authorization"), form))


def client_by_secret(call: Call, given: Credentials) -> Client:
    """Returns the client with this secret. Raises `OAuthError`."""
    client = call.state.store.clients.authenticate(given.client_id, given.client_secret, call.state.clock())
    return admitted(call, client if client and client.jwks is None else None)


def admitted(call: Call, client: Client | None) -> Client:
    """Returns the authenticated client. Raises `OAuthError` if there is none, or its address is not allowed."""
    if client is None:
        raise OAuthError("invalid_client", "no such client, or not its secret")
    call.caller = client.client_id
    if not client.may_call_from(client_address(call.request)):
        raise OAuthError("invalid_client", "this client may not call from there")
    return client


def credentials_of(authorization: str | None, form: Mapping[str, str]) -> Credentials:
    """Reads `client_secret_basic` or `client_secret_post` (RFC 6749 §2.3.1). Raises `OAuthError` for none or both."""
    if authorization is None:
        if not form.get("client_id") or not form.get("client_secret"):
            raise OAuthError("invalid_client", "client_id and client_secret are missing")
        return Credentials(form["client_id"], form["client_secret"])
    kind, _, encoded = authorization.partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        kind, name, colon, secret = "", "", "", ""
    if kind.lower() != "basic" or not colon:
        raise OAuthError("invalid_client", "the Authorization header is not Basic")
    if "client_secret" in form or form.get("client_id", unquote_plus(name)) != unquote_plus(name):
        raise OAuthError("invalid_request", "the client authenticated itself in two ways")
    return Credentials(unquote_plus(name), unquote_plus(secret))


class _Assertion(BaseModel):
    """The claims of RFC 7523 §3."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    jti: str


def _by_assertion(call: Call, form: Mapping[str, str]) -> Client:
    """Authenticates a client by `private_key_jwt` (OpenID Connect Core 1.0 §9). Raises `OAuthError` unless a registered
    key of the client signed the assertion, and the assertion is meant for this service and new.
    """
    state = call.state
    if form.get("client_assertion_type") != _ASSERTION:
        raise OAuthError("invalid_request", f"client_assertion_type must be {_ASSERTION}")
    if "client_secret" in form or "authorization" in call.request.headers:
        raise OAuthError("invalid_request", "the client authenticated itself in two ways")
    text, now = form.get("client_assertion", ""), state.clock()
    wrong = OAuthError("invalid_client", "the client assertion proves nothing")
    try:
        claimed = _Assertion.model_validate_json(jws.extract_compact(text.encode()).payload)
        client = state.store.clients.get(claimed.iss)
        if client is None or client.jwks is None:
            raise wrong
        keys = KeySet.import_key_set(client.jwks)
        jwt.decode(text, keys, algorithms=list(ASSERTION_ALGORITHMS))
    except (JoseError, ValueError):  # pydantic's ValidationError is a ValueError
        raise wrong from None
    audience = {claimed.aud} if isinstance(claimed.aud, str) else set(claimed.aud)
    base = state.settings.base_url
    our_names = {base, f"{base}/oauth2/token", f"{base}/oauth2/bc-authorize"}
    ends = from_numeric_date(claimed.exp)
    in_time = now - LEEWAY < ends <= now + _MAX_ASSERTION_LIFETIME + LEEWAY
    if claimed.sub != client.client_id or not audience & our_names or not in_time:
        raise wrong
    if form.get("client_id", client.client_id) != client.client_id:
        raise wrong
    # Last check: a forged assertion must not use up the id of a genuine one.
    if not first_use(state.store.database, "assertion", f"{client.client_id} {claimed.jti}", ends + LEEWAY):
        raise OAuthError("invalid_client", "the client assertion came before")
    return client


def issue_token(
    call: Call, client: Client, scopes: Collection[str], *, user: str | None = None, login: str | None = None
) -> dict[str, Any]:
    """Issues an access token and returns the answer of RFC 6749 §5.1. Raises `OAuthError`."""
    token = call.state.store.access_tokens.issue(client, scopes, call.state.clock(), user=user, login=login)
    if token is None:
        raise OAuthError("invalid_client", "no such client, or not its secret")
    scope = " ".join(sorted(scopes))
    get_logger().info("token.issued", client=client.client_id, scope=scope)
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": int(TOKEN_LIFETIME.total_seconds()),
        "scope": scope,
    }
