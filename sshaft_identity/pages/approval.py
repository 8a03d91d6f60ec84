"""Serves the page of an approval: what the SSH login is, who may approve it, the answers, and the digits.

Whoever has the address sees what the SSH login is: that is whoever began it, or was sent the address. Only the person
who may approve it gets the answers and the digits, after a sign-in.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.approvals.approval import (
    MAX_TRIES,
    Approval,
    Consent,
    Person,
    State,
    Verdict,
    verdict_before_consent,
)
from sshaft_identity.common.language import N_, _
from sshaft_identity.pages import sign_in_oidc, sign_in_ssh
from sshaft_identity.pages.signed_in import (
    APPROVE,
    NotSignedInError,
    facts_of,
    session_and_form,
    session_of,
    tell,
)
from sshaft_identity.pages.wanted import remember_wanted
from sshaft_identity.pages.words import ago, clock, period, provider_label
from sshaft_identity.people.sessions import Session, hash_of
from sshaft_identity.web import cookies
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.live import APPROVAL, approval_seconds_left, approval_state_of, live_routes
from sshaft_identity.web.state import AppState, state_of

TEXTS: dict[str, tuple[str, str]] = {
    State.PENDING: (
        N_("Approve this SSH login?"),
        N_("Approve it only if you began it yourself just now, at this host."),
    ),
    State.APPROVED: (
        N_("Type these digits into ssh"),
        N_("ssh asks for them where you began the login. Tell them to nobody, and type them nowhere else."),
    ),
    State.VERIFIED: (N_("The digits were right"), N_("ssh goes on with your login.")),
    State.PASSED: (N_("You are logged in"), N_("You can close this page.")),
    State.DENIED: (N_("Denied"), N_("This SSH login was denied. If you did not begin it, tell your administrator.")),
    State.REPORTED: (
        N_("Denied and reported"),
        N_("This SSH login was denied. Your administrator can see that it was not yours."),
    ),
    State.EXPIRED: (N_("Too late"), N_("This SSH login waited too long. Begin it again.")),
    State.ENDED: (N_("The SSH login is over"), N_("It ended without you. Begin it again if you need it.")),
    "tried_out": (N_("Denied"), N_("Wrong digits were typed too often. Begin the SSH login again.")),
    "sign_in": (N_("Do you want to log in here?"), N_("Sign in to approve or deny this SSH login.")),
    "sign_in_again": (N_("Sign in again"), N_("This SSH login is approved. Sign in to see its digits.")),
    "other": (N_("Not your SSH login"), N_("Another person may approve it, but not you. Nothing was done.")),
}
"""The heading and the sentence of each state of the page."""
_NO_APPROVAL = N_("No such SSH login"), N_("This address belongs to no SSH login, or to one that was long ago.")
_FAULTS = {
    Verdict.CONFIRM_REQUIRED: N_("Confirm first that you began this login yourself."),
    Verdict.ADDRESS_MISMATCH: N_("Approve it from the network that the SSH login came from."),
}
REFRESH_SECONDS = 2


@dataclass(frozen=True, slots=True)
class _Visit:
    """A request for the page. `person` is None for a browser that is not signed in."""

    request: Request
    approval: Approval
    session: Session | None
    person: Person | None

    @property
    def state(self) -> AppState:
        return state_of(self.request)

    @property
    def is_owner(self) -> bool:
        """Whether the person may approve. After Approve only the same user may go on."""
        if self.person is None:
            return False
        consent = self.approval.consent
        if consent is not None and consent.person.user_id != self.person.user_id:
            return False
        return self.approval.is_for(self.person.user, self.person.user_id)

    @property
    def page_state(self) -> str:
        found = approval_state_of(self.approval, self.state)
        if found not in (State.PENDING, State.APPROVED) or self.is_owner:
            return found
        if self.person is not None:
            return "other"
        return "sign_in" if found == State.PENDING else "sign_in_again"

    def consent(self) -> Consent:
        """Raises `NotSignedInError` for a browser that is not signed in."""
        if self.session is None or self.person is None:
            raise NotSignedInError
        return Consent(self.person, self.state.clock(), client_address(self.request), hash_of(self.session.token))


async def page(request: Request) -> Response:
    return await _page(await _visit(request))


async def _visit(request: Request) -> _Visit:
    """Raises `PageError` if there is no such approval."""
    approval, session, state = await _find(request), await session_of(request), state_of(request)
    if approval is None:
        raise PageError(404, *_NO_APPROVAL)
    user_id = None if session is None else await run_in_threadpool(state.store.users.id_of, session.user)
    if session is None or user_id is None:
        return _Visit(request, approval, None, None)
    person = Person(session.user, user_id, session.authenticated_at, session.amr, session.acr, session.fingerprint)
    return _Visit(request, approval, session, person)


async def _page(visit: _Visit, status: int = 200, fault: str | None = None) -> Response:
    request, approval, state, page_state = visit.request, visit.approval, visit.state, visit.page_state
    asked, now = approval.asked, visit.state.clock()
    is_asked = page_state == State.PENDING
    check = None
    if is_asked:
        consent = visit.consent()
        check = verdict_before_consent(approval, consent, state.settings.address_check, confirmed=False)
    key_name = None
    if visit.is_owner and visit.person is not None and asked.key_fingerprint is not None:
        own_keys = await run_in_threadpool(state.store.keys.of, visit.person.user)
        key_name = next((each.name for each in own_keys if each.key.fingerprint == asked.key_fingerprint), None)
    title, sentence = TEXTS[page_state]
    waits = page_state in _WAITING and not APPROVAL.is_over(approval, state)
    left = approval_seconds_left(approval, state)
    refresh = left + 1 if is_asked else REFRESH_SECONDS
    return render(
        request,
        "approval.html",
        status,
        # A reload would delete the confirmation that a person has just given. The answer to a form has no address.
        refresh=refresh if waits and fault is None else None,
        page_state=page_state,
        title=_(title),
        sentence=_(sentence),
        waits=waits,
        host=asked.host,
        client=approval.client,
        ssh_service=asked.service,
        account=asked.account,
        address=asked.client_ip,
        owner=state.network_owners.of(asked.client_ip),
        browser_address=client_address(request),
        browser_owner=state.network_owners.of(client_address(request)),
        fingerprint=asked.key_fingerprint if visit.is_owner else None,
        key_name=key_name,
        asked_with_key=asked.key_fingerprint is not None,
        remembered=None if asked.remember is None else period(asked.remember),
        began=ago(approval.created_at, now),
        person=None if visit.person is None else visit.person.user,
        session_token=None if visit.session is None else visit.session.form_token,
        needs_confirmation=check is Verdict.CONFIRM_REQUIRED,
        is_foreign=check is Verdict.ADDRESS_MISMATCH,
        digits=state.store.approvals.digits_of(approval) if page_state == State.APPROVED else None,
        tries=MAX_TRIES,
        tries_left=approval.tries_left,
        fault=fault and _(fault),
        provider=provider_label(state),
        again=request.query_params.get("again") == "1",
        mark=APPROVAL.mark(approval),
        expires_in=left,
        left=clock(left),
        base=state.settings.base_path + _page_of(request),
    )


_WAITING = (State.PENDING, State.APPROVED, State.VERIFIED, "sign_in", "sign_in_again")
"""The states of the page in which it looks for news."""


async def approve(request: Request) -> Response:
    visit, form = await _answered(request)
    if visit is None:
        return redirect(request, _page_of(request))
    state, consent = visit.state, visit.consent()
    decide = partial(state.store.approvals.approve, visit.approval.id, consent, state.settings.address_check)
    answer = await run_in_threadpool(decide, state.clock(), confirmed=form.get("confirmed") == "yes")
    facts = {"approval": visit.approval.id, "user": consent.person.user, "host": visit.approval.asked.host}
    if answer.verdict is not Verdict.APPROVED:
        get_logger().warning("approval.not_approved", verdict=answer.verdict, **facts)
        if answer.verdict in _FAULTS:
            return await _page(visit, 403, _FAULTS[answer.verdict])
        return redirect(request, _page_of(request))
    get_logger().info("approval.approved", **facts)
    state.changes.wake(visit.approval.id)
    return redirect(request, _page_of(request))


def _refuse(refused: State) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        visit, _form = await _answered(request)
        if visit is not None and visit.is_owner:
            state, now, user = visit.state, visit.state.clock(), visit.consent().person.user
            decide = partial(state.store.approvals.refuse, visit.approval.id, refused, now, **facts_of(request))
            done = await run_in_threadpool(decide)
            if done is not None:
                facts = {"approval": done.id, "user": user, "host": done.asked.host, "client_ip": done.asked.client_ip}
                if refused is State.REPORTED:
                    # A warning for the operator: somebody tried to log in as this person.
                    get_logger().warning("approval.reported", **facts)
                else:
                    get_logger().info("approval.denied", **facts)
                state.changes.notify([done])
        return redirect(request, _page_of(request))

    return refuse


async def _answered(request: Request) -> tuple[_Visit | None, dict[str, str]]:
    """Returns the visit and the form of a signed-in person. The visit is None if the sign-in has ended meanwhile."""
    try:
        _session, form = await session_and_form(request)
    except NotSignedInError:
        return None, {}
    visit = await _visit(request)
    return (visit if visit.person is not None else None), form


async def sign_in_by_provider(request: Request) -> Response:
    """Begins a sign-in that leads back to this page, see `signed_in.lead_on`."""
    await _visit(request)
    response = await sign_in_oidc.begin(request)
    remember_wanted(request, response)
    return response


async def sign_in_by_ssh(request: Request) -> Response:
    await _visit(request)
    response = await sign_in_ssh.begin(request)
    remember_wanted(request, response)
    return response


async def change_person(request: Request) -> Response:
    """Signs this browser out, so that another person can sign in."""
    try:
        session, _form = await session_and_form(request)
    except NotSignedInError:
        return redirect(request, _page_of(request))
    state = state_of(request)
    end = partial(state.store.revocation.end_session, session, state.clock(), **facts_of(request))
    tell(state, await run_in_threadpool(end))
    get_logger().info("session.ended", user=session.user, everywhere=False)
    response = redirect(request, f"{_page_of(request)}?again=1")
    cookies.clear(request, response, cookies.SESSION)
    return response


def _page_of(request: Request) -> str:
    return f"{APPROVE}/{request.path_params['page_token']}"


async def _find(request: Request) -> Approval | None:
    return await run_in_threadpool(state_of(request).store.approvals.of_page, request.path_params["page_token"])


_PATH = f"{APPROVE}/{{page_token}}"
ROUTES = [
    Route(_PATH, page, methods=["GET"]),
    Route(f"{_PATH}/approve", approve, methods=["POST"]),
    Route(f"{_PATH}/deny", _refuse(State.DENIED), methods=["POST"]),
    Route(f"{_PATH}/report", _refuse(State.REPORTED), methods=["POST"]),
    Route(f"{_PATH}/sign-in/oidc", sign_in_by_provider, methods=["GET"]),
    Route(f"{_PATH}/sign-in/ssh", sign_in_by_ssh, methods=["POST"]),
    Route(f"{_PATH}/sign-out", change_person, methods=["POST"]),
    *live_routes(_PATH, APPROVAL, _find),
]
