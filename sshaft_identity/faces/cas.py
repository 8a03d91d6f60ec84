"""Serves Apereo CAS: the REST API of its simple multi-factor tokens. The "token" that the person types is the code that
ssh has printed. CAS sends the token that it gets from `/cas/new` by mail, so that token is random and passes nothing.

    POST /cas/new       principal   -> a random token                           (GET before CAS 7)
    POST /cas           ticket      -> an empty object; the ticket is not stored
    GET  /cas/482913                -> the principal for which ssh has printed this code
    POST /cas/482913    principal   -> the same principal, once                 (GET before CAS 7)

https://apereo.github.io/cas/development/mfa/Simple-Multifactor-Authentication-TokenManagement.html
"""

import secrets

from pydantic import Field
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sshaft_identity.challenges.challenge import Verdict
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support import typed_codes
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.options import AppOptions
from sshaft_identity.face_support.setup import Provider, register_with_app
from sshaft_identity.web import refused_requests
from sshaft_identity.web.call import Call, in_thread
from sshaft_identity.web.problem import problem

NAME = "cas"


class CasClient(AppOptions):
    """`wrong_codes`: so many wrong codes an hour are allowed for the whole client. After that everybody has to wait.

    The codes have eight digits, so that guesses stay hopeless although the number is high: one user alone hardly
    reaches it.
    """

    wrong_codes: int = Field(default=10_000, ge=1, le=100_000)


def new(call: Call) -> Response:
    """`POST /cas/new`: begins a login."""
    client = typed_codes.client_of_basic(call, NAME)
    user = typed_codes.text_member(typed_codes.json_members(call, NAME), "id")
    if not typed_codes.check_user_name(call, NAME, user):
        return problem("invalid_request", detail="the id of the principal is not a user name of this service")
    typed_codes.begin_login(call, client, user, _options(client).app, found_by_code=True)
    return PlainTextResponse(secrets.token_hex(8))


def store(call: Call) -> Response:
    """`POST /cas`: does nothing, because the login is stored already."""
    typed_codes.client_of_basic(call, NAME)
    return JSONResponse({})


def check(call: Call) -> Response:
    """`/cas/{code}`: with a principal, redeems the code. Without a principal, CAS asks for the owner of the code.

    The second question takes no result. Its wrong codes count for the client, because no person is named.
    """
    client = typed_codes.client_of_basic(call, NAME)
    code = "".join(call.request.path_params["code"].split())
    if not call.body:
        return _owner_of_code(call, client, code)
    user = typed_codes.text_member(typed_codes.json_members(call, NAME), "id")
    if not typed_codes.check_user_name(call, NAME, user):
        return problem("invalid_request", detail="the id of the principal is not a user name of this service")
    if not typed_codes.redeem_code(call, NAME, client, typed_codes.pending_challenges(call, client, user), code):
        return problem("invalid_code")
    return _principal(user)


def _owner_of_code(call: Call, client: Client, code: str) -> Response:
    state = call.state
    answer = state.store.challenges.of_printed(code, client.client_id, _options(client).wrong_codes, state.clock())
    if answer.verdict is Verdict.PRESENTED and answer.challenges[0].user is not None:
        return _principal(answer.challenges[0].user)
    refused_requests.note(
        call, NAME, answer.verdict, "ssh has printed this code for no pending login, or too many codes were wrong"
    )
    return problem("too_many_attempts" if answer.verdict is Verdict.TOO_MANY_ATTEMPTS else "invalid_code")


def _options(client: Client) -> CasClient:
    return CasClient.model_validate(client.faces[NAME])


def _principal(user: str) -> Response:
    """Returns the principal in the JSON of Jackson, which CAS has configured to read class names."""
    return JSONResponse(
        {
            "@class": "org.apereo.cas.authentication.principal.SimplePrincipal",
            "id": user,
            "attributes": {"@class": "java.util.LinkedHashMap"},
        }
    )


FACE = Face(
    name=NAME,
    options=CasClient,
    routes=lambda _clock: [
        Route("/cas", in_thread(store), methods=["POST"]),
        Route("/cas/new", in_thread(new), methods=["GET", "POST"]),
        Route("/cas/{code}", in_thread(check), methods=["GET", "POST"]),
    ],
    providers={"cas": Provider(register_with_app)},
)
