"""Serves providers that ask a web service whether a code is right, such as the REST second factor of LemonLDAP::NG.
ssh prints the code, the person types it at the provider, and the provider asks here.

    POST /code-back/init     {"user": "alice", "ip": "192.0.2.7"}           -> {"result": true}
    POST /code-back/verify   {"user": "alice", "code": "482913"}            -> {"result": true}, or false

The client authenticates by HTTP Basic. Its options give the names of the members.
https://lemonldap-ng.org/documentation/latest/rest2f.html
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
Step = Callable[[Call, Client, "CodeBackClient", dict[str, str]], bool]


class CodeBackClient(AppOptions):
    """The names of the JSON members that the provider sends and expects."""

    user: MemberName = "user"
    code: MemberName = "code"
    ip: MemberName = "ip"
    result: MemberName = "result"


def _endpoint(step: Step) -> Work:
    """Makes an endpoint of a step: reads the client and the members, and answers with the result of the step."""

    @wraps(step)
    def answer(call: Call) -> Response:
        client = typed_codes.client_of_basic(call, NAME)
        options = CodeBackClient.model_validate(client.faces[NAME])
        body = typed_codes.json_members(call, NAME)
        fields = {name: typed_codes.text_member(body, getattr(options, name)) for name in ("user", "code", "ip")}
        result = typed_codes.check_user_name(call, NAME, fields["user"]) and step(call, client, options, fields)
        return _answer(options, result=result)

    return answer


@_endpoint
def init(call: Call, client: Client, options: CodeBackClient, fields: dict[str, str]) -> bool:
    """`POST /code-back/init`: the provider has accepted the password, so the login begins."""
    typed_codes.begin_login(call, client, fields["user"], options.app, fields["ip"])
    return True


@_endpoint
def verify(call: Call, client: Client, _options: CodeBackClient, fields: dict[str, str]) -> bool:
    """`POST /code-back/verify`: whether ssh has printed this code."""
    meant = typed_codes.pending_challenges(call, client, fields["user"])
    return typed_codes.redeem_code(call, NAME, client, meant, fields["code"])


def _answer(options: CodeBackClient, *, result: bool) -> Response:
    body: Any = result
    for name in reversed(options.result.split(".")):
        body = {name: body}
    return JSONResponse(body)


FACE = Face(
    name=NAME,
    options=CodeBackClient,
    routes=lambda _clock: [
        Route("/code-back/init", in_thread(init), methods=["POST"]),
        Route("/code-back/verify", in_thread(verify), methods=["POST"]),
    ],
    providers={"lemonldap": Provider(register_with_app)},
)
