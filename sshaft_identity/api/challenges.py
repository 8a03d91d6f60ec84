"""Lets an application open a challenge, wait for its end, consume it once, verify a code, or cancel it."""

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, Strict
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.api.answers import ChallengeAnswer, ConsumedAnswer, OpenedAnswer
from sshaft_identity.api.refused_attempts import refusal_response
from sshaft_identity.api.results import result_of
from sshaft_identity.challenges.challenge import MAX_LIFETIME, MIN_LIFETIME, Binding, Challenge, Context, State, Verdict
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.challenges.codes import attempt_name
from sshaft_identity.clients.clients import Scope
from sshaft_identity.clients.return_urls import ReturnUrl, allows
from sshaft_identity.common.addresses import Address
from sshaft_identity.common.fields import Code, Line, UserName, whole
from sshaft_identity.web import logins
from sshaft_identity.web.call import Call, Message, in_thread, wait_of
from sshaft_identity.web.live import CHALLENGE
from sshaft_identity.web.problem import ProblemError, problem
from sshaft_identity.web.state import state_of

Seconds = Annotated[
    int, Field(ge=int(MIN_LIFETIME.total_seconds()), le=int(MAX_LIFETIME.total_seconds())), BeforeValidator(whole)
]


class ContextMessage(Message):
    ip: Address | None = None
    user_agent: Line | None = None


class OpenRequest(Message):
    """Without `user`, the challenge is for the owner of the key whose SSH login brings the code."""

    user: UserName | None = None
    binding: Annotated[Binding, Strict(strict=False)] = Binding.CODE_IN
    verify_required: bool = False
    app: Line | None = None
    context: ContextMessage | None = None
    expires_in: Seconds | None = None
    return_url: ReturnUrl | None = None


class VerifyRequest(Message):
    code: Code


def open_challenge(call: Call) -> Response:
    client = call.client(Scope.CHALLENGES)
    wanted = call.message(OpenRequest)
    state = call.state
    if wanted.binding is Binding.NONE and not client.allows_unbound:
        raise ProblemError("binding_not_allowed", detail="this client may not open challenges without a code")
    if wanted.user is None and (wanted.binding is not Binding.CODE_IN or wanted.verify_required):
        detail = "without user the binding is code_in, and nothing is known of the key beforehand"
        raise ProblemError("binding_not_allowed", detail=detail)
    if wanted.return_url is not None and not allows(client.return_urls, wanted.return_url):
        raise ProblemError(
            "return_url_not_allowed", detail="it is below no address that this client is registered with"
        )
    context = wanted.context or ContextMessage()
    wish = Wish(
        user=wanted.user,
        lifetime=timedelta(seconds=wanted.expires_in or state.settings.lifetime),
        client=client.client_id,
        context=Context(wanted.app, context.ip, context.user_agent, wanted.return_url),
        binding=wanted.binding,
        verify_required=wanted.verify_required,
    )
    opened = logins.open_login(call, wish)
    answer = OpenedAnswer.of_opened(opened, state.settings)
    return answer.response(201, {"Location": f"/api/v1/challenges/{answer.id}"})


async def get_challenge(request: Request) -> Response:
    wait = wait_of(request)
    challenge = await run_in_threadpool(_challenge_of, Call(request))
    state = state_of(request)

    def is_over(challenge: Challenge) -> bool:
        return challenge.state_at(state.clock()) is not State.PENDING

    if wait and not is_over(challenge):
        challenge = await state.changes.wait(challenge, CHALLENGE.reader(state, challenge), is_over, wait)
    return ChallengeAnswer.of(challenge, challenge.state_at(state.clock())).response()


def consume(call: Call) -> Response:
    client, state = call.client(Scope.CHALLENGES), call.state
    after = logins.consume(call, call.request.path_params["id"], client.client_id)
    if after is None:
        return problem("already_used" if _challenge_of(call).state is State.CONSUMED else "not_accepted")
    signed = result_of(after, state.store.signing_keys, state.settings.base_url, state.clock())
    return ConsumedAnswer.of_result(after, signed).response()


def verify(call: Call) -> Response:
    """Checks the code of a `code_back` challenge: ssh printed it, and the person typed it in the web login."""
    challenge = _challenge_of(call)
    wanted = call.message(VerifyRequest)
    name = attempt_name(call.request.headers.get("idempotency-key"), wanted.code)
    answer = logins.verify(call, [challenge], wanted.code, name)
    if answer.verdict is not Verdict.ACCEPTED:
        return refusal_response(answer, call.state.clock())
    (after,) = answer.challenges
    return ChallengeAnswer.of(after, after.state).response()


def cancel(call: Call) -> Response:
    challenge = _challenge_of(call)
    state = call.state
    after = state.store.challenges.cancel(challenge.id, state.clock())
    if after is None:
        return problem("not_pending")
    get_logger().info("challenge.cancelled", challenge=after.id, user=after.user, client=after.client)
    call.changed = [after]
    return ChallengeAnswer.of(after, after.state).response()


def _challenge_of(call: Call) -> Challenge:
    """Returns the challenge that the path names. Raises `ProblemError` if it does not belong to the client."""
    client = call.client(Scope.CHALLENGES)
    challenge = call.state.store.challenges.get(call.request.path_params["id"])
    if challenge is None or challenge.client != client.client_id:
        raise ProblemError("no_challenge")
    return challenge


ROUTES = [
    Route("/api/v1/challenges", in_thread(open_challenge), methods=["POST"]),
    Route("/api/v1/challenges/{id}", get_challenge, methods=["GET"]),
    Route("/api/v1/challenges/{id}/verify", in_thread(verify), methods=["POST"]),
    Route("/api/v1/challenges/{id}/consume", in_thread(consume), methods=["POST"]),
    Route("/api/v1/challenges/{id}/cancel", in_thread(cancel), methods=["POST"]),
]
