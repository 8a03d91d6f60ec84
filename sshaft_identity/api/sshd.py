"""Answers the calls of the sshd side: list the keys that may log in, accept a challenge, reject a challenge.

It also publishes the sshd that people reach, see `sshaft.host.ssh_server`.
"""

import re

from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.api import enrolments
from sshaft_identity.api.answers import AcceptAnswer, KeyEntry, KeyList, RejectAnswer, SshServerAnswer
from sshaft_identity.api.refused_attempts import refusal_response
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenge import Verdict
from sshaft_identity.challenges.codes import attempt_name
from sshaft_identity.challenges.listing import MAX_LISTED_KEYS
from sshaft_identity.clients.clients import Scope
from sshaft_identity.common.fields import FINGERPRINT_PATTERN, Code, Fingerprint, Identifier, Line, UserName
from sshaft_identity.web.call import Call, Message, in_thread
from sshaft_identity.web.problem import ProblemError, problem

_EVENTS = {
    Verdict.ACCEPTED: "challenge.accepted",
    Verdict.PRESENTED: "challenge.presented",
    Verdict.INVALID_CODE: "challenge.wrong_code",
    Verdict.CODE_REQUIRED: "challenge.code_required",
}


_OVER = {Verdict.ALREADY_USED, Verdict.EXPIRED, Verdict.REJECTED, Verdict.CANCELLED}


class RejectRequest(Message):
    user: UserName
    challenge: Identifier | None = None
    fingerprint: Fingerprint | None = None
    key_type: Identifier | None = None
    client_ip: Line | None = None


class AcceptRequest(RejectRequest):
    """`verified`: the key line had `verify-required`. `confirmed`: the person saw the context and confirmed it."""

    code: Code | None = None
    verified: bool = False
    confirmed: bool = False


def list_keys(call: Call) -> Response:
    """Changes and counts nothing: sshd asks for every key that ssh offers, and twice for the key that logs in."""
    call.client(Scope.LIST)
    fingerprints = call.request.query_params.getlist("fingerprint")
    if not all(re.fullmatch(FINGERPRINT_PATTERN, each) for each in fingerprints):
        raise ProblemError("invalid_request", detail="fingerprint: must be SHA256: and 43 characters of base64")
    if len(fingerprints) > MAX_LISTED_KEYS:
        raise ProblemError("invalid_request", detail=f"fingerprint: may be given {MAX_LISTED_KEYS} times at the most")
    state = call.state
    listed = state.store.challenges.listed(state.clock(), fingerprints)
    get_logger().debug("keys.listed", fingerprints=fingerprints, entries=len(listed))
    unowned = set(fingerprints) - {each.key.fingerprint for each in listed}
    answer = KeyList([*map(KeyEntry.of, listed), *enrolments.open_enrolments(state, unowned)])
    return answer.response(headers={"Sshaft-Fingerprints": str(MAX_LISTED_KEYS)})


def accept(call: Call) -> Response:
    client = call.client(Scope.ACCEPT)
    wanted = call.message(AcceptRequest)
    attempt = Attempt(
        user=wanted.user,
        challenge=wanted.challenge,
        code=wanted.code,
        fingerprint=wanted.fingerprint,
        client_ip=wanted.client_ip,
        name=attempt_name(call.request.headers.get("idempotency-key"), wanted.code),
        verified=wanted.verified,
        confirmed=wanted.confirmed,
    )
    state = call.state
    now = state.clock()
    answer = state.store.challenges.accept(attempt, now)
    call.changed = answer.challenges
    get_logger().info(
        _EVENTS.get(answer.verdict, "challenge.not_accepted"),
        verdict=answer.verdict,
        user=wanted.user,
        challenges=[challenge.id for challenge in answer.challenges],
        fingerprint=wanted.fingerprint,
        client_ip=wanted.client_ip,
        client=client.client_id,
    )
    if answer.verdict is not Verdict.ACCEPTED and answer.verdict is not Verdict.PRESENTED:
        ending = None
        if answer.verdict in _OVER and wanted.fingerprint is not None:  # a key of this user has signed
            ending = state.store.challenges.ending(answer.challenges[0], wanted.user, now)
        return refusal_response(answer, now, ending)
    return AcceptAnswer.of(answer.verdict, answer.challenges[0], answer.code).response()


def reject(call: Call) -> Response:
    client = call.client(Scope.ACCEPT)
    wanted = call.message(RejectRequest)
    state = call.state
    attempt = Attempt(wanted.user, wanted.challenge, fingerprint=wanted.fingerprint, client_ip=wanted.client_ip)
    answer = state.store.challenges.reject(attempt, state.clock())
    call.changed = answer.challenges
    if answer.verdict is not Verdict.REJECTED:
        return problem("no_challenge")
    # A warning for the operator: the owner of the key says that this login is not theirs.
    get_logger().warning(
        "challenge.rejected",
        user=wanted.user,
        challenges=[challenge.id for challenge in answer.challenges],
        fingerprint=wanted.fingerprint,
        client_ip=wanted.client_ip,
        client=client.client_id,
    )
    return RejectAnswer(state="rejected").response()


def show_server(call: Call) -> Response:
    """Needs no access token: every page shows the same to strangers."""
    return SshServerAnswer(**call.state.settings.ssh_server.as_json()).response()


ROUTES = [
    Route("/api/v1/mfa/ssh/server", in_thread(show_server, reads=True), methods=["GET"]),
    Route("/api/v1/mfa/ssh/keys", in_thread(list_keys, reads=True), methods=["GET"]),
    Route("/api/v1/mfa/ssh/accept", in_thread(accept), methods=["POST"]),
    Route("/api/v1/mfa/ssh/reject", in_thread(reject), methods=["POST"]),
]
