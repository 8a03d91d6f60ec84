"""Enrolment over the API: invite a person and follow what becomes of it; sshd's side brings a key and a code."""

from collections.abc import Awaitable, Collection
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sshaft.errors import InvalidKeyError
from sshaft.log import get_logger
from sshaft.public_key import PublicKey, parse
from sshaft_identity.api.refused_attempts import too_many
from sshaft_identity.clients.clients import Scope
from sshaft_identity.common.errors import EnrolmentError
from sshaft_identity.common.fields import Code, Fingerprint, Line, UserName, whole
from sshaft_identity.common.times import rfc3339
from sshaft_identity.enrolment.invitations import (
    LONGEST,
    SHORTEST,
    Invitation,
    Invited,
    Outcome,
    Presentation,
    State,
    Verdict,
)
from sshaft_identity.settings import Settings
from sshaft_identity.web.call import Call, Message, wait_of
from sshaft_identity.web.problem import ProblemError, problem
from sshaft_identity.web.state import AppState, state_of

Seconds = Annotated[
    int, Field(ge=int(SHORTEST.total_seconds()), le=int(LONGEST.total_seconds())), BeforeValidator(whole)
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
    lifetime = LONGEST if wanted.expires_in is None else timedelta(seconds=wanted.expires_in)
    try:
        invited = state.store.invitations.open(wanted.user, state.clock(), lifetime, client.client_id)
    except EnrolmentError:
        return problem("unknown_user")
    invitation = invited.invitation
    get_logger().info("enrolment.opened", enrolment=invitation.id, user=invitation.user, client=client.client_id)
    shown_now = shown(invitation, invitation.state) | directions(invited, state.settings)
    return JSONResponse(shown_now, 201, {"Location": f"/api/v1/enrolments/{invitation.id}"})


async def get_enrolment(request: Request) -> Response:
    """With `?wait=` as soon as the state is another than at first."""
    wait = wait_of(request)
    invitation = await run_in_threadpool(_own, Call(request))
    state = state_of(request)
    first = invitation.state_at(state.clock())

    def has_news(invitation: Invitation) -> bool:
        return invitation.state_at(state.clock()) is not first

    def read() -> Awaitable[Invitation | None]:
        return run_in_threadpool(state.store.invitations.get, invitation.id)

    if wait and first in (State.OPEN, State.PRESENTED):
        invitation = await state.changes.wait(invitation, read, has_news, wait)
    return JSONResponse(shown(invitation, invitation.state_at(state.clock())))


def _own(call: Call) -> Invitation:
    """The enrolment of the address; another client's is answered as if there were none."""
    client = call.client(Scope.ENROLMENTS)
    invitation = call.state.store.invitations.get(call.request.path_params["id"])
    if invitation is None or invitation.invited_by != client.client_id:
        raise ProblemError("no_enrolment")
    return invitation


def offers(state: AppState, fingerprints: Collection[str]) -> list[dict[str, str]]:
    """What the list answers for keys that nobody owns, or not any more: an expired one may be renewed."""
    if not fingerprints or not state.settings.enrolment_over_ssh:
        return []
    ends = state.store.invitations.open_until(state.clock())
    if ends is None:
        return []
    offer = {"enrolment": "open", "expires_at": rfc3339(ends)}
    return [offer | {"fingerprint": each} for each in sorted(fingerprints)]


def present(call: Call) -> Response:
    """A key that sshd has just seen sign, and the code its holder gave."""
    client = call.client(Scope.ACCEPT)
    wanted = call.message(PresentRequest)
    state = call.state
    if not state.settings.enrolment_over_ssh:
        return problem("no_enrolment")
    what = Presentation(_key(wanted), wanted.client_ip)
    policy = state.settings.key_policy
    outcome = state.store.invitations.present(wanted.code, what, state.clock(), policy)
    log_outcome(outcome, what, client=client.client_id)
    return _answer(outcome, state)


def _key(wanted: PresentRequest) -> PublicKey:
    try:
        key = parse(wanted.authorized_key)
    except InvalidKeyError as error:
        raise ProblemError("key_refused", detail=f"authorized_key: {error}") from None
    if key.fingerprint != wanted.fingerprint:
        raise ProblemError("key_refused", detail="fingerprint: is not that of authorized_key")
    return key


def log_outcome(outcome: Outcome, what: Presentation, **facts: str) -> None:
    invitation = outcome.invitation
    names = {
        Verdict.PRESENTED: "enrolment.presented",
        Verdict.INVALID_CODE: "enrolment.wrong_code",
        Verdict.CONFIRMED: "key.enrolled",
    }
    get_logger().info(
        names.get(outcome.verdict, "enrolment.not_presented"),
        verdict=outcome.verdict,
        reason=outcome.refusal,
        enrolment=invitation and invitation.id,
        user=invitation and invitation.user,
        fingerprint=what.key.fingerprint,
        key_type=what.key.type,
        source=what.source,
        client_ip=what.client_ip,
        **facts,
    )


def _answer(outcome: Outcome, state: AppState) -> Response:
    """Nothing in it says whose invitation or whose key it is."""
    match outcome:
        case Outcome(Verdict.PRESENTED, Invitation() as invitation):
            return JSONResponse({"state": "presented", "expires_at": rfc3339(invitation.expires_at)})
        case Outcome(Verdict.REFUSED, refusal=reason):
            return problem("key_refused", reason=reason)
        case Outcome(Verdict.TOO_MANY, retry_at=retry_at) if retry_at is not None:
            return too_many(retry_at, state.clock())
        case Outcome(verdict):
            return problem(verdict)


def shown(invitation: Invitation, state: State) -> dict[str, Any]:
    """An enrolment as the wire and `--json` show it. Never its code: that is shown once, by `directions`."""
    members: dict[str, Any] = {
        "id": invitation.id,
        "state": state,
        "user": invitation.user,
        "created_at": rfc3339(invitation.created_at),
        "expires_at": rfc3339(invitation.expires_at),
    }
    if invitation.key is not None:
        members |= {
            "fingerprint": invitation.key.fingerprint,
            "key_type": invitation.key.type,
            "source": invitation.source,
            "client_ip": invitation.client_ip,
        }
    return members


def directions(invited: Invited, settings: Settings) -> dict[str, str]:
    """What a new enrolment has besides: how the person presents a key, and where they confirm it."""
    over_ssh = {}
    if settings.enrolment_over_ssh:
        over_ssh = {"code": grouped(invited.code), "ssh_command": settings.ssh_command("enrol", grouped(invited.code))}
    return {**over_ssh, "page_url": settings.enrolment_url(invited.page_token)}


def grouped(code: str) -> str:
    """`5821-7741`: two groups are easier to carry than eight digits."""
    return f"{code[:4]}-{code[4:]}"
