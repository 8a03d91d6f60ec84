"""Serves the calls of a login: a plugin opens a challenge, polls it, and takes its result once."""

import json
from datetime import timedelta

from starlette.responses import Response

from sshaft_identity.challenges.challenge import Binding, Challenge, Context, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support import typed_codes
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.faces.privacyidea.answers import (
    answers_errors,
    api_answer,
    authentication_answer,
    invalid_parameter,
)
from sshaft_identity.faces.privacyidea.authentication import client_of
from sshaft_identity.faces.privacyidea.options import NAME, PrivacyIdeaClient
from sshaft_identity.faces.privacyidea.parameters import Parameters, address_of, parameters_of, user_of
from sshaft_identity.web import logins, refused_requests
from sshaft_identity.web.call import Call

_SERIAL = "SSHA0001"
_POLL_STATUS = {State.ACCEPTED: "accept", State.CONSUMED: "accept", State.PENDING: "pending"}


@answers_errors
def trigger(call: Call) -> Response:
    """`POST /validate/triggerchallenge`: begins a login of the user."""
    client = client_of(call)
    return _begin_login(call, client, parameters_of(call))


@answers_errors
def check(call: Call) -> Response:
    """`POST /validate/check`: finishes the login of the transaction or of the code, or else begins a login."""
    client = client_of(call)
    parameters = parameters_of(call)
    meant = _challenges_to_finish(call, client, parameters)
    if not meant:
        return _begin_login(call, client, parameters)
    if passed := _passed(call, meant, parameters.get("pass", "")):
        if logins.consume(call, passed.id, client.client_id) is not None:
            return authentication_answer(call, "ACCEPT", {"message": "passed by ssh", "serial": _SERIAL})
        refused_requests.note(call, NAME, "not_accepted", "the result was taken before")
    return authentication_answer(call, "REJECT", {"message": "wrong code, or not passed by ssh"})


@answers_errors
def radius_check(call: Call) -> Response:
    """`POST /validate/radiuscheck`: `check` for plugins that read the status only. 204 is success."""
    answer = check(call)
    if answer.status_code != 200:
        return answer
    return Response(status_code=204 if json.loads(bytes(answer.body))["result"]["value"] is True else 400)


def poll(call: Call) -> Response:
    """`GET /validate/polltransaction`: answers whether the login has passed. The transaction id is the permission."""
    transaction = call.request.path_params.get("id") or call.request.query_params.get("transaction_id", "")
    request = FaceRequests(call.state.store.database, NAME).of_handle(transaction)
    challenge = None if request is None else call.state.store.challenges.get(request.id)
    status = "declined" if challenge is None else _POLL_STATUS.get(challenge.state_at(call.state.clock()), "declined")
    return api_answer(call, {"status": True, "value": status == "accept"}, {"challenge_status": status})


def _begin_login(call: Call, client: Client, parameters: Parameters) -> Response:
    state, now = call.state, call.state.clock()
    options = PrivacyIdeaClient.model_validate(client.faces[NAME])
    binding = Binding.CODE_IN if options.mode == "poll" else Binding.CODE_BACK
    wish = Wish(
        user=user_of(call, parameters),
        lifetime=timedelta(seconds=state.settings.lifetime),
        client=client.client_id,
        context=Context(options.app or client.client_id, address_of(parameters)),
        binding=binding,
    )
    opened = logins.open_login(call, wish)
    requests = FaceRequests(state.store.database, NAME)
    requests.add(opened.challenge.id, client.client_id, {}, now)
    transaction = requests.issue_handle(opened.challenge.id, opened.challenge.expires_at)
    command = state.settings.ssh_command(opened.code if binding is Binding.CODE_IN else None)
    message = f"Run: {command}" if options.mode == "poll" else f"Run: {command} and type the code that it prints"
    one = {
        "client_mode": options.mode, "message": message, "serial": _SERIAL, "transaction_id": transaction,
        "type": "push" if options.mode == "poll" else "hotp", "attributes": None, "image": "",
    }  # fmt: skip
    detail = one | {
        "preferred_client_mode": options.mode, "messages": [message], "transaction_ids": [transaction],
        "multi_challenge": [one],
    }  # fmt: skip
    return authentication_answer(call, "CHALLENGE", detail)


def _challenges_to_finish(call: Call, client: Client, parameters: Parameters) -> list[Challenge]:
    """Returns the challenges that the transaction or the code may be meant for; none: the plugin begins a login.

    Without a transaction the text may also be a password. A stranger who begins a login in the name of a person must
    not turn the person's password into a wrong code.
    """
    user, state = user_of(call, parameters), call.state
    if transaction := parameters.get("transaction_id"):
        request = FaceRequests(state.store.database, NAME).of_handle(transaction)
        if request is None or request.client_id != client.client_id:
            raise invalid_parameter("there is no such transaction")
        challenge = state.store.challenges.get(request.id)
        if challenge is None or challenge.user != user:
            raise invalid_parameter("there is no such transaction")
        return [challenge]
    if not typed_codes.is_code(parameters.get("pass", "")):
        return []
    return typed_codes.pending_challenges(call, client, user)


def _passed(call: Call, meant: list[Challenge], code: str) -> Challenge | None:
    """Returns the login that has passed by ssh, or that passes by the code that the person typed; or None."""
    if meant[0].binding is Binding.CODE_IN:
        if not code and meant[0].state_at(call.state.clock()) is State.ACCEPTED:
            return meant[0]
        refused_requests.note(call, NAME, "not_accepted", "the login has not passed, or its result was taken before")
        return None
    return typed_codes.verify_code(call, NAME, meant, code)
