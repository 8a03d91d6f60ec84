"""The API that plugins for Keycloak, AD FS, Shibboleth, FreeRADIUS and others speak to privacyIDEA, as far as they need
it: a challenge is triggered, asked after, and finished once. Compatible with it, and nothing of it.

Two ways, by the client's option `mode`. `poll`: the plugin shows our message with the ssh command, and asks until it
has passed. `interactive`: ssh prints a code, and the person types it where the plugin asks. What is sent as `pass` is
never taken for anything but that code.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from functools import partial, wraps
from io import BytesIO
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import unquote

from python_multipart import parse_form
from python_multipart.exceptions import FormParserError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import sshaft
from sshaft_identity.challenges.challenge import Binding, Challenge, Context, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.access_tokens import TOKEN_LIFETIME
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.face_support import typed_codes
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.face_support.options import AppOptions
from sshaft_identity.face_support.setup import GivenOptions, Provider, Registration, app_option
from sshaft_identity.web import logins, refused_requests
from sshaft_identity.web.call import Call, Work, in_thread
from sshaft_identity.web.oauth import (
    FORM,
    MAX_FIELDS,
    Credentials,
    OAuthError,
    admitted,
    client_by_secret,
    credentials_of,
    fields_of,
    issue_token,
)

NAME = "validate"
SERIAL = "SSHA0001"
MULTIPART = "multipart/form-data"
UNPROVEN = 4031
_POLLED = {State.ACCEPTED: "accept", State.CONSUMED: "accept", State.PENDING: "pending"}
Fields = Mapping[str, str]


class ValidateClient(AppOptions):
    """`mode`: `poll`, people see the ssh command and wait; `interactive`, people type the code that ssh printed."""

    mode: Literal["poll", "interactive"] = "poll"


class _Error(Exception):
    """A refusal in the words of this API."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def _answers_errors(work: Work) -> Work:
    @wraps(work)
    def answer(call: Call) -> Response:
        try:
            return work(call)
        except _Error as error:
            refused_requests.note(call, NAME, str(error.code), error.message)
            told = {"status": False, "error": {"code": error.code, "message": error.message}}
            return _enveloped(call, told, status=error.status)

    return answer


def _enveloped(
    call: Call, result: dict[str, Any], detail: dict[str, Any] | None = None, *, status: int = 200
) -> Response:
    whole: dict[str, Any] = {
        "id": 1, "jsonrpc": "2.0", "version": f"sshaft {sshaft.__version__}", "time": call.state.clock().timestamp(),
        "result": result,
    }  # fmt: skip
    return JSONResponse(whole if detail is None else whole | {"detail": detail}, status)


def _answer(call: Call, authentication: str, detail: dict[str, Any]) -> Response:
    value = authentication == "ACCEPT"
    return _enveloped(call, {"status": True, "value": value, "authentication": authentication}, detail)


# --- endpoints


@_answers_errors
def auth(call: Call) -> Response:
    """`POST /auth`: a token for five minutes. The service account's name and password are the client's id and secret;
    without them HTTP Basic says who it is. The role is what plugins want to see: it allows nothing.
    """
    fields = _fields(call)
    if "username" in fields and "password" in fields:  # AD FS sends the token that it has got before beside them
        client = _of_secret(call, Credentials(fields["username"], fields["password"]))
    else:
        client = _of_basic(call, call.request.headers.get("authorization", ""))
    try:
        token = issue_token(call, client, [NAME])["access_token"]
    except OAuthError as error:
        raise _Error(401, UNPROVEN, error.description) from None
    value = {"token": _like_a_jwt(call, client, token), "role": "admin", "username": client.client_id}
    return _enveloped(call, {"status": True, "value": value})


def _like_a_jwt(call: Call, client: Client, token: str) -> str:
    """Plugins look into its middle for how long it is good. It proves nothing: the end, our access token, does."""
    ends = int((call.state.clock() + TOKEN_LIFETIME).timestamp())
    claims = {"username": client.client_id, "role": "admin", "exp": ends}
    # Java's own decoder knows the alphabet of RFC 4648 §4 only, and .NET no "=" in such a header: neither comes up.
    parts = (b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"typ": "JWT"}, claims))
    return ".".join([*parts, token])


@_answers_errors
def trigger(call: Call) -> Response:
    """`POST /validate/triggerchallenge`: a new challenge for the user."""
    client = _client(call)
    fields = _fields(call)
    return _triggered(call, client, fields)


@_answers_errors
def check(call: Call) -> Response:
    """`POST /validate/check`: with a transaction its end, without one a code, or the beginning of a challenge."""
    client = _client(call)
    fields = _fields(call)
    challenge = _meant(call, client, fields)
    if challenge is None:
        return _triggered(call, client, fields)
    if _is_right(call, challenge, fields.get("pass", "")):
        if logins.consume(call, challenge.id, client.client_id) is not None:
            return _answer(call, "ACCEPT", {"message": "passed by ssh", "serial": SERIAL})
        refused_requests.note(call, NAME, "not_accepted", "its result was taken before")
    return _answer(call, "REJECT", {"message": "wrong code, or not passed by ssh"})


@_answers_errors
def radius_check(call: Call) -> Response:
    """`POST /validate/radiuscheck`: the same for who reads the status only. 204: right."""
    answer = check(call)
    if answer.status_code != 200:
        return answer
    return Response(status_code=204 if json.loads(bytes(answer.body))["result"]["value"] is True else 400)


def poll(call: Call) -> Response:
    """`GET /validate/polltransaction`: whether ssh has passed it. Whoever knows the transaction may ask."""
    transaction = call.request.path_params.get("id") or call.request.query_params.get("transaction_id", "")
    request = FaceRequests(call.state.store.database, NAME).of_handle(transaction)
    challenge = None if request is None else call.state.store.challenges.get(request.id)
    status = "declined" if challenge is None else _POLLED.get(challenge.state_at(call.state.clock()), "declined")
    return _enveloped(call, {"status": True, "value": status == "accept"}, {"challenge_status": status})


# --- what they share


def _triggered(call: Call, client: Client, fields: Fields) -> Response:
    state, now = call.state, call.state.clock()
    options = ValidateClient.model_validate(client.faces[NAME])
    binding = Binding.CODE_IN if options.mode == "poll" else Binding.CODE_BACK
    wish = Wish(
        user=_user(fields),
        lifetime=timedelta(seconds=state.settings.lifetime),
        client=client.client_id,
        context=Context(options.app or client.client_id, _address(fields.get("client") or fields.get("clientip", ""))),
        binding=binding,
    )
    opened = logins.open_login(call, wish)
    requests = FaceRequests(state.store.database, NAME)
    requests.add(opened.challenge.id, client.client_id, {}, now)
    transaction = requests.issue_handle(opened.challenge.id, opened.challenge.expires_at)
    command = state.settings.ssh_command(opened.code if binding is Binding.CODE_IN else None)
    message = f"Run: {command}" if options.mode == "poll" else f"Run: {command} and type the code that it prints"
    one = {
        "client_mode": options.mode, "message": message, "serial": SERIAL, "transaction_id": transaction,
        "type": "push" if options.mode == "poll" else "hotp", "attributes": None, "image": "",
    }  # fmt: skip
    detail = one | {
        "preferred_client_mode": options.mode, "messages": [message], "transaction_ids": [transaction],
        "multi_challenge": [one],
    }  # fmt: skip
    return _answer(call, "CHALLENGE", detail)


def _meant(call: Call, client: Client, fields: Fields) -> Challenge | None:
    """The challenge that is to be finished; None: one is to be begun."""
    user, state = _user(fields), call.state
    if transaction := fields.get("transaction_id"):
        request = FaceRequests(state.store.database, NAME).of_handle(transaction)
        if request is None or request.client_id != client.client_id:
            raise _Error(400, 905, "there is no such transaction")
        challenge = state.store.challenges.get(request.id)
        if challenge is None or challenge.user != user:
            raise _Error(400, 905, "there is no such transaction")
        return challenge
    if not fields.get("pass"):
        return None
    return typed_codes.pending_challenge(call, client, user)


def _is_right(call: Call, challenge: Challenge, code: str) -> bool:
    if challenge.binding is Binding.CODE_IN:
        if not code and challenge.state is State.ACCEPTED:
            return True
        refused_requests.note(call, NAME, "not_accepted", "no ssh has passed it, or its result was taken before")
        return False
    return typed_codes.verify_code(call, NAME, challenge, code)


def _address(text: str) -> str | None:
    """Where the person is, if it is an address: RADIUS has other things there as well."""
    try:
        return str(ip_address(unquote(text)))
    except ValueError:
        return None


def _user(fields: Fields) -> str:
    """Some plugins encode what they then send as a form: no user name has a percent sign."""
    user = unquote(fields.get("user", ""))
    if not re.fullmatch(USER_PATTERN, user):
        raise _Error(400, 905, "user is missing, or no user name of this service")
    return user


def _client(call: Call) -> Client:
    """By the token of `/auth`, or by HTTP Basic; from where it may call. A plugin that needs Authorization for its own
    token, or may not set it, has PI-Authorization.
    """
    header = call.request.headers.get("pi-authorization") or call.request.headers.get("authorization", "")
    kind, _, rest = header.partition(" ")
    if kind.lower() == "basic":
        return _of_basic(call, header)
    token = (rest if kind.lower() == "bearer" else header).strip().rpartition(".")[2]
    client = call.state.store.access_tokens.client_of(token, call.state.clock()) if token else None
    if client is None or NAME not in client.scopes:
        raise _Error(401, UNPROVEN, "the client has not proven itself")
    try:
        return _with_face(admitted(call, client))
    except OAuthError as error:
        raise _Error(401, UNPROVEN, error.description) from None


def _of_basic(call: Call, header: str) -> Client:
    padding = "=" * (-len(header.partition(" ")[2]) % 4)  # what Keycloak's plugin cuts off a header that it adds
    try:
        given = credentials_of(header + padding, {})
    except OAuthError as error:
        raise _Error(401, UNPROVEN, error.description) from None
    return _of_secret(call, given)


def _of_secret(call: Call, given: Credentials) -> Client:
    try:
        return _with_face(client_by_secret(call, given))
    except OAuthError as error:
        raise _Error(401, UNPROVEN, error.description) from None


def _with_face(client: Client) -> Client:
    if NAME not in client.faces:
        raise _Error(403, 403, "the client may not use this")
    return client


def _fields(call: Call) -> dict[str, str]:
    """Of a form, as which plugins send it in two ways, or of a JSON object."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART:
        return _parts(call)
    if kind == FORM:
        try:
            return fields_of(call.body)
        except OAuthError as error:
            raise _Error(400, 905, error.description) from None
    body = call.json_object()
    if body is None:
        raise _Error(400, 905, "the body must be a form or a JSON object")
    return {name: value for name, value in body.items() if isinstance(value, str)}


def _parts(call: Call) -> dict[str, str]:
    """The fields of a form as PHP's curl sends it (RFC 7578)."""
    found: list[tuple[bytes | None, bytes | None]] = []
    headers = {"Content-Type": call.request.headers["content-type"].encode()}
    try:
        parse_form(headers, BytesIO(call.body), lambda part: found.append((part.field_name, part.value)), None)
        fields = {(name or b"").decode(): (value or b"").decode() for name, value in found}
    except (FormParserError, ValueError):
        fields = {}
    if not fields or len(fields) != len(found) or len(found) > MAX_FIELDS:
        raise _Error(400, 905, "the parameters are no form")
    return fields


def _register(given: GivenOptions, *, mode: str) -> Registration:
    return Registration({"mode": mode} | app_option(given))


FACE = Face(
    name=NAME,
    options=ValidateClient,
    routes=lambda _clock: [
        Route("/auth", in_thread(auth), methods=["POST"]),
        Route("/validate/check", in_thread(check), methods=["POST"]),
        Route("/validate/radiuscheck", in_thread(radius_check), methods=["POST"]),
        Route("/validate/triggerchallenge", in_thread(trigger), methods=["POST"]),
        Route("/validate/polltransaction", in_thread(poll, reads=True), methods=["GET"]),
        Route("/validate/polltransaction/{id}", in_thread(poll, reads=True), methods=["GET"]),
    ],
    providers={
        "keycloak": Provider(partial(_register, mode="poll")),
        "freeradius": Provider(partial(_register, mode="interactive")),
        "privacyidea": Provider(partial(_register, mode="interactive")),
    },
)
