"""Enrolment over the API: invite a person and follow what becomes of it; sshd's side brings a key and a code."""

from collections.abc import Awaitable, Collection
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft.errors import InvalidKeyError
from sshaft.log import get_logger
from sshaft.public_key import PublicKey, parse
from sshaft_identity.api.refused_attempts import too_many
from sshaft_identity.clients.clients import Scope
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import Code, Fingerprint, Line, UserName, whole
from sshaft_identity.common.times import rfc3339
from sshaft_identity.enrolment.enrolment import (
    Enrolment,
    OpenedEnrolment,
    Outcome,
    Presentation,
    State,
    Verdict,
    hyphenate,
    log_outcome,
)
from sshaft_identity.enrolment.enrolments import MAX_LIFETIME, MIN_LIFETIME
from sshaft_identity.settings import Settings
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
    shown_now = shown(enrolment, enrolment.state) | directions(invited, state.settings)
    return JSONResponse(shown_now, 201, {"Location": f"/api/v1/enrolments/{enrolment.id}"})


async def get_enrolment(request: Request) -> Response:
    """With `?wait=` as soon as the state is another than at first."""
    wait = wait_of(request)
    enrolment = await run_in_threadpool(_own, Call(request))
    state = state_of(request)
    first = enrolment.state_at(state.clock())

    def has_news(enrolment: Enrolment) -> bool:
        return enrolment.state_at(state.clock()) is not first

    def read() -> Awaitable[Enrolment | None]:
        return run_in_threadpool(state.store.enrolments.get, enrolment.id)

    if wait and first in (State.OPEN, State.PRESENTED):
        enrolment = await state.changes.wait(enrolment, read, has_news, wait)
    return JSONResponse(shown(enrolment, enrolment.state_at(state.clock())))


def _own(call: Call) -> Enrolment:
    """The enrolment of the address; another client's is answered as if there were none."""
    client = call.client(Scope.ENROLMENTS)
    enrolment = call.state.store.enrolments.get(call.request.path_params["id"])
    if enrolment is None or enrolment.invited_by != client.client_id:
        raise ProblemError("no_enrolment")
    return enrolment


def offers(state: AppState, fingerprints: Collection[str]) -> list[dict[str, str]]:
    """What the list answers for keys that nobody owns, or not any more: an expired one may be renewed."""
    if not fingerprints or not state.settings.enrolment_over_ssh:
        return []
    ends = state.store.enrolments.open_until(state.clock())
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
    outcome = state.store.enrolments.present(wanted.code, what, state.clock(), policy)
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


def _answer(outcome: Outcome, state: AppState) -> Response:
    """Nothing in it says whose invitation or whose key it is."""
    match outcome:
        case Outcome(Verdict.PRESENTED, Enrolment() as enrolment):
            return JSONResponse({"state": "presented", "expires_at": rfc3339(enrolment.expires_at)})
        case Outcome(Verdict.REFUSED, refusal=reason):
            return problem("key_refused", reason=reason)
        case Outcome(Verdict.TOO_MANY, retry_at=retry_at) if retry_at is not None:
            return too_many(retry_at, state.clock())
        case Outcome(verdict):
            return problem(verdict)


def shown(enrolment: Enrolment, state: State) -> dict[str, Any]:
    """An enrolment as the wire and `--json` show it. Never its code: that is shown once, by `directions`."""
    members: dict[str, Any] = {
        "id": enrolment.id,
        "state": state,
        "user": enrolment.user,
        "created_at": rfc3339(enrolment.created_at),
        "expires_at": rfc3339(enrolment.expires_at),
    }
    if enrolment.key is not None:
        members |= {
            "fingerprint": enrolment.key.fingerprint,
            "key_type": enrolment.key.type,
            "source": enrolment.source,
            "client_ip": enrolment.client_ip,
        }
    return members


def directions(invited: OpenedEnrolment, settings: Settings) -> dict[str, str]:
    """What a new enrolment has besides: how the person presents a key, and where they confirm it."""
    over_ssh = {}
    if settings.enrolment_over_ssh:
        code = hyphenate(invited.code)
        over_ssh = {"code": code, "ssh_command": settings.ssh_command("enrol", code)}
    return {**over_ssh, "page_url": settings.enrolment_url(invited.page_token)}


ROUTES = [
    Route("/api/v1/mfa/ssh/enrol", in_thread(present), methods=["POST"]),
    Route("/api/v1/enrolments", in_thread(invite), methods=["POST"]),
    Route("/api/v1/enrolments/{id}", get_enrolment, methods=["GET"]),
]
