"""Lets a host ask a person to approve an SSH login, wait for the answer, bring the digits, and say how it ended."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.api.answers import ApprovalAnswer, OpenedApprovalAnswer, VerifiedApprovalAnswer
from sshaft_identity.api.refused_attempts import too_many
from sshaft_identity.approvals.approval import LIFETIME, MAX_LIFETIME, MIN_LIFETIME, OPEN, Approval, Asked, State
from sshaft_identity.approvals.approvals import TooMany
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.common.addresses import Address
from sshaft_identity.common.fields import Code, Fingerprint, Line, UserName, whole
from sshaft_identity.web import refused_requests
from sshaft_identity.web.call import Call, Message, in_thread, wait_of
from sshaft_identity.web.problem import ProblemError, problem
from sshaft_identity.web.state import state_of

Seconds = Annotated[
    int, Field(ge=int(MIN_LIFETIME.total_seconds()), le=int(MAX_LIFETIME.total_seconds())), BeforeValidator(whole)
]
_LONGEST_REMEMBERED = 30 * 86400
Name = Annotated[Line, Field(min_length=1, max_length=255)]


class ApprovalRequest(Message):
    """`account` is the name at the host, and `user` the person who may approve.

    `subject`: only the user with this `sub` may approve, whatever the name. `remember`: for so many seconds the host
    will ask for no other approval of such a login.
    """

    host: Name
    service: Name
    account: Name
    user: UserName
    client_ip: Address | None = None
    key_fingerprint: Fingerprint | None = None
    subject: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    seconds: Seconds | None = None
    remember: Annotated[int, Field(ge=1, le=_LONGEST_REMEMBERED), BeforeValidator(whole)] | None = None


class DigitsRequest(Message):
    code: Code


class EndRequest(Message):
    """`passed`: the person is logged in. `gone`: the SSH login ended in any other way."""

    outcome: Literal["passed", "gone"]


def open_approval(call: Call) -> Response:
    client, state = call.client(Scope.APPROVALS), call.state
    wanted, now = call.message(ApprovalRequest), state.clock()
    # no user has an empty id
    subject = None if wanted.subject is None else state.store.subjects.user_id_of(client, wanted.subject) or ""
    asked = Asked(
        wanted.host, wanted.service, wanted.account, wanted.user, wanted.client_ip, wanted.key_fingerprint, subject,
        wanted.remember,
    )  # fmt: skip
    lifetime = LIFETIME if wanted.seconds is None else timedelta(seconds=wanted.seconds)
    opened = state.store.approvals.open(client.client_id, asked, state.settings.approval_limits, now, lifetime)
    if isinstance(opened, TooMany):
        call.caller = client.client_id
        refused_requests.note(call, "api", "too_many_approvals", "the host has opened too many approvals")
        return too_many("too_many_approvals", opened.retry_at, now)
    if not opened.is_known:
        state.unknown_users.note(asked.user, client.client_id, now)
    get_logger().info(
        "approval.opened",
        approval=opened.approval.id,
        host=asked.host,
        account=asked.account,
        user=asked.user,
        client_ip=asked.client_ip,
        client=client.client_id,
    )
    answer = OpenedApprovalAnswer.of_opened(opened, state.settings)
    return answer.response(201, {"Location": f"/api/v1/approvals/{answer.id}"})


async def get_approval(request: Request) -> Response:
    wait = wait_of(request)
    _, approval = await run_in_threadpool(_approval_of, Call(request))
    state = state_of(request)
    first = approval.state_at(state.clock())

    async def read() -> Approval | None:
        return await run_in_threadpool(state.store.approvals.get, approval.id)

    def has_news(approval: Approval) -> bool:
        return approval.state_at(state.clock()) is not first

    if wait and first in OPEN:
        approval = await state.changes.wait(approval, read, has_news, wait)
    return ApprovalAnswer.of(approval, state.clock()).response()


def verify(call: Call) -> Response:
    """Checks the digits, which the page shows after Approve. Only the first right ones get the identity."""
    client, approval = _approval_of(call)
    wanted, state = call.message(DigitsRequest), call.state
    judged = state.store.approvals.verify(approval, wanted.code, state.clock())
    after = judged.approval
    call.changed = [after]
    if judged.is_right and after.consent is not None:
        get_logger().info("approval.verified", approval=after.id, user=after.consent.person.user, client=after.client)
        user_id = after.consent.person.user_id
        subject, linked = state.store.subjects.of(client, user_id), state.store.users.linked_account(user_id)
        return VerifiedApprovalAnswer.of(after, after.consent, subject, state.settings.base_url, linked).response()
    if judged.was_counted:
        get_logger().warning("approval.wrong_digits", approval=after.id, user=after.asked.user, client=after.client)
        return problem("wrong_digits", tries_left=after.tries_left)
    return problem("not_approved", state=ApprovalAnswer.of(after, state.clock()).state)


def end(call: Call) -> Response:
    _, approval = _approval_of(call)
    wanted = call.message(EndRequest)
    after = call.state.store.approvals.finish(approval.id, call.state.clock(), passed=wanted.outcome == "passed")
    if after is not None:
        facts = {"approval": after.id, "user": after.asked.user, "client": after.client}
        if after.state is State.PASSED:
            get_logger().info("approval.passed", **facts)
        else:
            get_logger().info("approval.ended", **facts)
        call.changed = [after]
    return Response(status_code=204)


def _approval_of(call: Call) -> tuple[Client, Approval]:
    """Returns the client and its approval that the path names. Raises `ProblemError` for one of another client."""
    client = call.client(Scope.APPROVALS)
    approval = call.state.store.approvals.get(call.request.path_params["id"])
    if approval is None or approval.client != client.client_id:
        raise ProblemError("no_approval")
    return client, approval


ROUTES = [
    Route("/api/v1/approvals", in_thread(open_approval), methods=["POST"]),
    Route("/api/v1/approvals/{id}", get_approval, methods=["GET"]),
    Route("/api/v1/approvals/{id}/verify", in_thread(verify), methods=["POST"]),
    Route("/api/v1/approvals/{id}/end", in_thread(end), methods=["POST"]),
]
