"""Lets an application invite a person and follow the enrolment. The sshd side presents a key with the code."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.errors import InvalidKeyError
from sshaft.log import get_logger
from sshaft.public_key import PublicKey, parse
from sshaft_identity.api.answers import EnrolmentAnswer, InvitedAnswer, OpenEnrolment, PresentAnswer
from sshaft_identity.api.refused_attempts import too_many_attempts
from sshaft_identity.clients.clients import Scope
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import Code, Fingerprint, Line, UserName, whole
from sshaft_identity.enrolment.enrolment import (
    Enrolment,
    Outcome,
    Presentation,
    State,
    Verdict,
    log_outcome,
)
from sshaft_identity.enrolment.enrolments import MAX_LIFETIME, MIN_LIFETIME
from sshaft_identity.web.call import Call, Message, in_thread, wait_of
from sshaft_identity.web.problem import ProblemError, problem
from sshaft_identity.web.state import AppState, state_of

Seconds = Annotated[
    int, Field(ge=int(MIN_LIFETIME.total_seconds()), le=int(MAX_LIFETIME.total_seconds())), BeforeValidator(whole)
]


class InviteRequest(Message):
    user: UserName
    expires_in: Seconds | None = None


class PresentRequest(Message):
    code: Code
    authorized_key: str
    fingerprint: Fingerprint
    client_ip: Line | None = None


def invite(call: Call) -> Response:
    client = call.client(Scope.ENROLMENTS)
    wanted = call.message(InviteRequest)
    state = call.state
    lifetime = MAX_LIFETIME if wanted.expires_in is None else timedelta(seconds=wanted.expires_in)
    try:
        invited = state.store.enrolments.open(wanted.user, state.clock(), lifetime, client.client_id)
    except RegistryError:
        return problem("unknown_user")
    enrolment = invited.enrolment
    get_logger().info("enrolment.opened", enrolment=enrolment.id, user=enrolment.user, client=client.client_id)
    answer = InvitedAnswer.of_opened(invited, state.settings)
    return answer.response(201, {"Location": f"/api/v1/enrolments/{enrolment.id}"})


async def get_enrolment(request: Request) -> Response:
    """Answers at once, or with `?wait=` when the state changes."""
    wait = wait_of(request)
    enrolment = await run_in_threadpool(_enrolment_of, Call(request))
    state = state_of(request)
    first = enrolment.state_at(state.clock())

    def has_news(enrolment: Enrolment) -> bool:
        return enrolment.state_at(state.clock()) is not first

    async def read() -> Enrolment:
        """Reads the enrolment again. It is gone if its user was removed."""
        found = await run_in_threadpool(state.store.enrolments.get, enrolment.id)
        return found or replace(enrolment, state=State.CANCELLED)

    if wait and first in (State.OPEN, State.PRESENTED):
        enrolment = await state.changes.wait(enrolment, read, has_news, wait)
    return EnrolmentAnswer.of(enrolment, enrolment.state_at(state.clock())).response()


def _enrolment_of(call: Call) -> Enrolment:
    """Returns the enrolment that the path names. Raises `ProblemError` if it does not belong to the client."""
    client = call.client(Scope.ENROLMENTS)
    enrolment = call.state.store.enrolments.get(call.request.path_params["id"])
    if enrolment is None or enrolment.invited_by != client.client_id:
        raise ProblemError("no_enrolment")
    return enrolment


def open_enrolments(state: AppState, fingerprints: Collection[str]) -> list[OpenEnrolment]:
    """Returns the list entries of keys that no user owns. An expired key counts as such, and may be enrolled again."""
    if not fingerprints or not state.settings.enrolment_over_ssh:
        return []
    ends = state.store.enrolments.open_until(state.clock())
    if ends is None:
        return []
    return [OpenEnrolment(enrolment="open", fingerprint=each, expires_at=ends) for each in sorted(fingerprints)]


def present(call: Call) -> Response:
    """Presents a key for an enrolment. sshd has just verified a signature by the key; the person gave the code."""
    client = call.client(Scope.ACCEPT)
    wanted = call.message(PresentRequest)
    state = call.state
    if not state.settings.enrolment_over_ssh:
        return problem("no_enrolment")
    presentation = Presentation(_key_of(wanted), wanted.client_ip)
    policy = state.settings.key_policy
    outcome = state.store.enrolments.present(wanted.code, presentation, state.clock(), policy)
    log_outcome(outcome, presentation, client=client.client_id)
    return _response(outcome, state)


def _key_of(wanted: PresentRequest) -> PublicKey:
    try:
        key = parse(wanted.authorized_key)
    except InvalidKeyError as error:
        raise ProblemError("key_refused", detail=f"authorized_key: {error}") from None
    if key.fingerprint != wanted.fingerprint:
        raise ProblemError("key_refused", detail="fingerprint: is not that of authorized_key")
    return key


def _response(outcome: Outcome, state: AppState) -> Response:
    """Returns the answer for the sshd side. It never names the owner of the enrolment or of the key."""
    match outcome:
        case Outcome(Verdict.PRESENTED, Enrolment() as enrolment):
            return PresentAnswer(state="presented", expires_at=enrolment.expires_at).response()
        case Outcome(Verdict.REFUSED, refusal=reason):
            return problem("key_refused", reason=reason)
        case Outcome(Verdict.TOO_MANY, retry_at=retry_at) if retry_at is not None:
            return too_many_attempts(retry_at, state.clock())
        case Outcome(verdict):
            return problem(verdict)


ROUTES = [
    Route("/api/v1/mfa/ssh/enrol", in_thread(present), methods=["POST"]),
    Route("/api/v1/enrolments", in_thread(invite), methods=["POST"]),
    Route("/api/v1/enrolments/{id}", get_enrolment, methods=["GET"]),
]
