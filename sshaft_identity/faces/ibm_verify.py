"""Serves IBM Verify's external multi-factor authentication: a webhook with three calls. ssh prints the code.

    POST /ibm-verify/enrollments    -> the factors of a person: always ssh
    POST /ibm-verify/initiate       -> a transaction: the login has begun
    POST /ibm-verify/validate       -> SUCCESS or FAILED for the code that the person typed

https://www.ibm.com/docs/en/security-verify?topic=integration-verify-external-mfa-api-contract
"""

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support import typed_codes
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.face_support.options import AppOptions, MemberName
from sshaft_identity.face_support.setup import Provider, register_with_app
from sshaft_identity.web.call import Call, in_thread

NAME = "ibm_verify"


class IbmVerifyClient(AppOptions):
    """`capability`: the name of the factor in IBM Verify."""

    capability: MemberName = "ssh"


def enrollments(call: Call) -> Response:
    """`POST /ibm-verify/enrollments`: every person has ssh, so that nobody learns whether a user exists."""
    client = typed_codes.client_of_basic(call, NAME)
    typed_codes.json_members(call, NAME)
    attributes = {"authExecutionFlow": "init_then_validate", "deviceName": "SSH"}
    return JSONResponse([{"id": "ssh", "capability": _options(client).capability, "attributes": attributes}])


def initiate(call: Call) -> Response:
    """`POST /ibm-verify/initiate`: begins a login."""
    client = typed_codes.client_of_basic(call, NAME)
    user = typed_codes.text_member(typed_codes.json_members(call, NAME), "attributes.username")
    if not typed_codes.check_user_name(call, NAME, user):
        return _answer("FAILED")
    challenge = typed_codes.begin_login(call, client, user, _options(client).app)
    requests = FaceRequests(call.state.store.database, NAME)
    requests.add(challenge.id, client.client_id, {}, call.state.clock())
    transaction = requests.issue_handle(challenge.id, challenge.expires_at)
    return _answer("PENDING", transactionId=transaction)  # IBM Verify treats SUCCESS as an error here


def validate(call: Call) -> Response:
    """`POST /ibm-verify/validate`: redeems the code."""
    client = typed_codes.client_of_basic(call, NAME)
    body = typed_codes.json_members(call, NAME)
    user = typed_codes.text_member(body, "attributes.username")
    if not typed_codes.check_user_name(call, NAME, user):
        return _answer("FAILED")
    request = FaceRequests(call.state.store.database, NAME).of_handle(typed_codes.text_member(body, "transactionId"))
    pending = typed_codes.pending_challenges(call, client, user)
    meant = [each for each in pending if request is not None and each.id == request.id]
    code = typed_codes.text_member(body, "attributes.passvalue")
    return _answer("SUCCESS" if typed_codes.redeem_code(call, NAME, client, meant, code) else "FAILED")


def _options(client: Client) -> IbmVerifyClient:
    return IbmVerifyClient.model_validate(client.faces[NAME])


def _answer(status: str, **more: Any) -> Response:
    return JSONResponse({"status": status, "attributes": {}} | more)


FACE = Face(
    name=NAME,
    options=IbmVerifyClient,
    routes=lambda _clock: [
        Route("/ibm-verify/enrollments", in_thread(enrollments), methods=["POST"]),
        Route("/ibm-verify/initiate", in_thread(initiate), methods=["POST"]),
        Route("/ibm-verify/validate", in_thread(validate), methods=["POST"]),
    ],
    providers={"ibm-verify": Provider(register_with_app)},
)
