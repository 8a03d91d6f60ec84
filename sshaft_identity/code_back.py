"""Identity providers that ask a web service whether a code is right, as LemonLDAP::NG's REST second factor does: ssh
prints the code, the person types it over there, and the provider asks here.

    POST /code-back/init     {"user": "alice", "ip": "192.0.2.7"}           -> {"result": true}
    POST /code-back/verify   {"user": "alice", "code": "482913"}            -> {"result": true}, or false

The client proves itself by HTTP Basic. Its options say how the members are called. Nothing links the two calls but
client and user, so the pending challenge of the two is meant: there is one at most.
"""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from starlette.responses import JSONResponse, Response

from sshaft.log import get_logger
from sshaft_identity import refusals
from sshaft_identity.challenge import Binding, Challenge, Context, State, Verdict
from sshaft_identity.challenges import Wish
from sshaft_identity.clients import Client
from sshaft_identity.enrolment import USER_PATTERN
from sshaft_identity.face_options import CodeBackClient
from sshaft_identity.incoming import Call, Work, one_line
from sshaft_identity.oauth import OAuthError, client_of
from sshaft_identity.problem import ProblemError

FACE = "code_back"
_CODE = re.compile(r"[0-9]{1,16}")
Judge = Callable[[Call, Client, CodeBackClient, dict[str, str]], bool]


def _endpoint(judge: Judge) -> Work:
    """What both endpoints do: who asks, what it says, and the answer in its own words."""

    @wraps(judge)
    def answer(call: Call) -> Response:
        client = _client(call)
        options = CodeBackClient.model_validate(client.faces[FACE])
        fields = _fields(call, options)
        if not re.fullmatch(USER_PATTERN, fields["user"]):
            refusals.note(call, FACE, "invalid_request", "no user name of this service was given")
            return _told(options, is_right=False)
        return _told(options, is_right=judge(call, client, options, fields))

    return answer


@_endpoint
def init(call: Call, client: Client, options: CodeBackClient, fields: dict[str, str]) -> bool:
    """The password was right over there: from now on ssh prints a code for this user. Unknown ones are asked alike."""
    state, now = call.state, call.state.clock()
    wish = Wish(
        user=fields["user"],
        lifetime=timedelta(seconds=state.settings.lifetime),
        client=client.client_id,
        context=Context(options.app or client.client_id, one_line(fields["ip"]) or None),
        binding=Binding.CODE_BACK,
    )
    opened = state.store.challenges.open(wish, now)
    call.changed = opened.superseded
    get_logger().info(
        "challenge.created", challenge=opened.challenge.id, user=wish.user, client=client.client_id, ip=wish.context.ip
    )
    return True


@_endpoint
def verify(call: Call, client: Client, _options: CodeBackClient, fields: dict[str, str]) -> bool:
    """Whether this is the code that ssh has printed. A right one counts once."""
    state, now = call.state, call.state.clock()
    code = "".join(fields["code"].split())
    challenge = _waiting(call, client, fields["user"])
    if challenge is None or not _CODE.fullmatch(code):
        refusals.note(call, FACE, "no_challenge" if challenge is None else "invalid_request",
                      "no login of this user waits" if challenge is None else "the code is no number")  # fmt: skip
        return False
    answer = state.store.challenges.verify(challenge.id, code, None, now)
    call.changed = answer.challenges
    get_logger().info(
        "challenge.verified",
        verdict=answer.verdict,
        challenge=challenge.id,
        user=challenge.user,
        client=client.client_id,
    )
    if answer.verdict is not Verdict.ACCEPTED:
        if answer.verdict is not Verdict.INVALID_CODE:  # that one is in the audit log already
            refusals.note(call, FACE, answer.verdict, "the login cannot pass any more")
        return False
    after = state.store.challenges.consume(challenge.id, now, client.client_id)
    return after is not None and after.user == fields["user"]


def _waiting(call: Call, client: Client, user: str) -> Challenge | None:
    now = call.state.clock()
    running = call.state.store.challenges.pending(user, client.client_id)
    usable = (each for each in running if each.binding is Binding.CODE_BACK and each.state_at(now) is State.PENDING)
    return next(usable, None)


def _client(call: Call) -> Client:
    try:
        client = client_of(call, {})
    except OAuthError as error:
        refusals.note(call, FACE, error.error, error.description)
        challenge = {"WWW-Authenticate": 'Basic realm="sshaft"'}
        raise ProblemError("invalid_client", detail=error.description, headers=challenge) from None
    if FACE not in client.faces:
        refusals.note(call, FACE, "unauthorized_client", "the client has not this face")
        raise ProblemError("unauthorized_client")
    return client


def _fields(call: Call, options: CodeBackClient) -> dict[str, str]:
    """The members by our names; those that are left out are empty. Raises `ProblemError`."""
    try:
        body = json.loads(call.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        refusals.note(call, FACE, "invalid_request", "the body is no JSON object")
        raise ProblemError("invalid_request", detail="the body must be a JSON object")
    return {name: _at(body, getattr(options, name)) for name in ("user", "code", "ip")}


def _at(body: Any, path: str) -> str:
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body if isinstance(body, str) else ""


def _told(options: CodeBackClient, *, is_right: bool) -> Response:
    told: Any = is_right
    for name in reversed(options.result.split(".")):
        told = {name: told}
    return JSONResponse(told)
