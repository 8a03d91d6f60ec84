"""Identity providers that ask a web service whether a code is right, as LemonLDAP::NG's REST second factor does: ssh
prints the code, the person types it over there, and the provider asks here.

    POST /code-back/init     {"user": "alice", "ip": "192.0.2.7"}           -> {"result": true}
    POST /code-back/verify   {"user": "alice", "code": "482913"}            -> {"result": true}, or false

The client proves itself by HTTP Basic. Its options say how the members are called.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support import typed_codes
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.options import AppOptions, MemberName
from sshaft_identity.face_support.setup import Provider, register_with_app
from sshaft_identity.web.call import Call, Work, in_thread

NAME = "code_back"
Judge = Callable[[Call, Client, "CodeBackClient", dict[str, str]], bool]


class CodeBackClient(AppOptions):
    """The names of the JSON members that the provider sends and expects."""

    user: MemberName = "user"
    code: MemberName = "code"
    ip: MemberName = "ip"
    result: MemberName = "result"


def _endpoint(judge: Judge) -> Work:
    """What both endpoints do: who asks, what it says, and the answer in its own words."""

    @wraps(judge)
    def answer(call: Call) -> Response:
        client = typed_codes.client_of_basic(call, NAME)
        options = CodeBackClient.model_validate(client.faces[NAME])
        body = typed_codes.json_members(call, NAME)
        fields = {name: typed_codes.text_member(body, getattr(options, name)) for name in ("user", "code", "ip")}
        is_good = typed_codes.check_user_name(call, NAME, fields["user"]) and judge(call, client, options, fields)
        return _answer(options, is_right=is_good)

    return answer


@_endpoint
def init(call: Call, client: Client, options: CodeBackClient, fields: dict[str, str]) -> bool:
    """The password was right over there."""
    typed_codes.begin_login(call, client, fields["user"], options.app, fields["ip"])
    return True


@_endpoint
def verify(call: Call, client: Client, _options: CodeBackClient, fields: dict[str, str]) -> bool:
    """Whether this is the code that ssh has printed."""
    return typed_codes.redeem_code(call, NAME, client, fields["user"], fields["code"])


def _answer(options: CodeBackClient, *, is_right: bool) -> Response:
    told: Any = is_right
    for name in reversed(options.result.split(".")):
        told = {name: told}
    return JSONResponse(told)


FACE = Face(
    name=NAME,
    options=CodeBackClient,
    routes=lambda _clock: [
        Route("/code-back/init", in_thread(init), methods=["POST"]),
        Route("/code-back/verify", in_thread(verify), methods=["POST"]),
    ],
    providers={"lemonldap": Provider(register_with_app)},
)
