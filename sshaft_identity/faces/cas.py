"""Apereo CAS: the REST API of its simple multi-factor tokens. The "token" that the person types is the code that ssh
has printed. What we give CAS as a token when it asks for a new one is good for nothing: CAS sends it about by mail.

    POST /cas/new       principal   -> an identifier                          (GET before CAS 7)
    POST /cas           ticket      -> nothing; there is nothing to keep
    GET  /cas/482913                -> the principal for whom ssh has printed this code
    POST /cas/482913    principal   -> that principal, once                   (GET before CAS 7)

https://apereo.github.io/cas/development/mfa/Simple-Multifactor-Authentication-TokenManagement.html
"""

import secrets

from starlette.responses import JSONResponse, PlainTextResponse, Response

from sshaft_identity.challenges.challenge import Verdict
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support import typed_codes
from sshaft_identity.face_support.options import CasClient
from sshaft_identity.web import refused_requests
from sshaft_identity.web.call import Call
from sshaft_identity.web.problem import problem

FACE = "cas"


def new(call: Call) -> Response:
    client = typed_codes.proven(call, FACE)
    user = typed_codes.text_at(typed_codes.members(call, FACE), "id")
    if not typed_codes.is_user(call, FACE, user):
        return problem("invalid_request", detail="the principal's id is no user name of this service")
    typed_codes.begin(call, client, user, _options(client).app)
    return PlainTextResponse(secrets.token_hex(8))


def store(call: Call) -> Response:
    typed_codes.proven(call, FACE)
    return JSONResponse({})


def check(call: Call) -> Response:
    """With a principal, whether it is that one's code, once. Without one CAS asks first whose code it is: that takes
    nothing, and wrong ones are counted, for the client and not for any person.
    """
    client = typed_codes.proven(call, FACE)
    code = "".join(call.request.path_params["code"].split())
    if not call.body:
        return _owner(call, client, code)
    user = typed_codes.text_at(typed_codes.members(call, FACE), "id")
    if not typed_codes.is_user(call, FACE, user):
        return problem("invalid_request", detail="the principal's id is no user name of this service")
    if not typed_codes.is_right(call, FACE, client, user, code):
        return problem("invalid_code")
    return _principal(user)


def _owner(call: Call, client: Client, code: str) -> Response:
    state = call.state
    answer = state.store.challenges.of_printed(code, client.client_id, _options(client).wrong_codes, state.clock())
    if answer.verdict is Verdict.PRESENTED and answer.challenges[0].user is not None:
        return _principal(answer.challenges[0].user)
    refused_requests.note(
        call, FACE, answer.verdict, "ssh has printed this code for nobody who waits, or too many were wrong"
    )
    return problem("too_many_attempts" if answer.verdict is Verdict.TOO_MANY_ATTEMPTS else "invalid_code")


def _options(client: Client) -> CasClient:
    return CasClient.model_validate(client.faces[FACE])


def _principal(user: str) -> Response:
    """As Jackson reads it, which CAS has set up to be told the classes."""
    return JSONResponse(
        {
            "@class": "org.apereo.cas.authentication.principal.SimplePrincipal",
            "id": user,
            "attributes": {"@class": "java.util.LinkedHashMap"},
        }
    )
