"""Serves the enrolment page: shows how to present a key, then lets the person confirm or refuse the presented key.
The secret path of the page authorizes all its forms. The page works without scripts; with scripts it updates itself.
"""

import math
from datetime import datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft.public_key import PublicKey
from sshaft.randomart import bits, randomart, short_name
from sshaft_identity.challenges.challenge import Challenge, Context
from sshaft_identity.challenges.challenge import State as ChallengeState
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.common.fields import one_line
from sshaft_identity.common.language import N_, _
from sshaft_identity.enrolment import sshsig
from sshaft_identity.enrolment.enrolment import Enrolment, Outcome, Presentation, State, Verdict, hyphenate, log_outcome
from sshaft_identity.pages import first_use
from sshaft_identity.pages.challenge import challenge_page, no_such_login
from sshaft_identity.pages.challenge_forms import challenge_routes, choose_alias, has_alias
from sshaft_identity.pages.enrolment_form import FAULTS, FaultError, Form, attested_device, form_of, signed_key
from sshaft_identity.pages.shells import Shell, quoted, sign_command
from sshaft_identity.pages.signed_in import session_of
from sshaft_identity.pages.words import TO_ADD, clock, source
from sshaft_identity.people.key_policy import sentence as policy_sentence
from sshaft_identity.people.keys import MAX_NAME
from sshaft_identity.people.sessions import Method
from sshaft_identity.web import logins
from sshaft_identity.web.browsers import client_address, user_agent
from sshaft_identity.web.call import Call
from sshaft_identity.web.html import redirect, render
from sshaft_identity.web.problem import problem
from sshaft_identity.web.state import AppState, state_of

REFRESH_SECONDS = 3
_LEFT = {
    State.OPEN: N_("Waiting, {time} left"),
    "signature": N_("{time} left to present it"),
    State.PRESENTED: N_("{time} left to confirm it"),
}

TEXTS: dict[str, tuple[str, str]] = {
    State.OPEN: (
        N_("Register an SSH key"),
        N_("Run this command in a terminal, with the key that you want to register."),
    ),
    "signature": (
        N_("Register an SSH key"),
        N_("Sign a line with the key, and bring the public key and the signature here."),
    ),
    State.PRESENTED: (
        N_("Is this your key?"),
        N_("Compare it with what your terminal shows. It passes your logins only after you confirm it."),
    ),
    "approval": (
        N_("Is this your key?"),
        N_(
            "Compare it with what your terminal shows. After you confirm it, a key that you already have must approve "
            "it."
        ),
    ),
    State.CONFIRMED: (N_("Registered"), N_("From now on this key passes your logins.")),
    State.REFUSED: (
        N_("Not registered"),
        N_("You said that the key is not yours. Tell your administrator, and ask for a new invitation."),
    ),
    State.EXPIRED: (N_("Too late"), N_("This invitation is no longer valid. Ask for a new one.")),
    State.CANCELLED: (
        N_("Over"),
        N_("This invitation was replaced by a new one, or ended. Ask for a new one if you need it."),
    ),
    "unknown": (
        N_("No such invitation"),
        N_("This address belongs to no invitation, or to one that was long ago."),
    ),
}
"""The heading and the sentence of each state."""


async def page(request: Request) -> Response:
    """Shows the page. `?by=signature` shows the form for a signature, which never reloads by itself."""
    by_signature = request.query_params.get("by") == "signature"
    return await _render(request, 200, await _enrolment_of(request), by_signature=by_signature)


async def page_state(request: Request) -> Response:
    """Returns the state and the seconds left. The script of the page asks for them every two seconds."""
    enrolment, now = await _enrolment_of(request), state_of(request).clock()
    if enrolment is None:
        return problem("not_found")
    return JSONResponse({"state": enrolment.state_at(now), "expires_in": _seconds_left(enrolment, now)})


async def decide(request: Request) -> Response:
    """Handles the forms of the page. The answer is a redirect, so that a reload repeats nothing.
    The form holds the fingerprint that the person saw. No other key is ever confirmed.
    """
    enrolment, page_token = await _enrolment_of(request), request.path_params["page_token"]
    if enrolment is None:
        return await _render(request, 404, None)
    form, next_page = Form(), None
    try:
        form = await form_of(request)
        next_page = await _apply(request, form.text("action"), form, enrolment)
    except FaultError as fault:
        enrolment, by_signature = await _enrolment_of(request), form.text("action") == "sign"
        return await _render(request, 400, enrolment, by_signature=by_signature, fault=_(fault.text), form=form)
    return redirect(request, next_page or f"/enrol/{page_token}")


async def approval(request: Request) -> Response:
    """Shows the challenge that an existing key must pass. After it has passed, registers the new key, once."""
    challenge = await _approval_of(request)
    if challenge is None:
        raise no_such_login()
    page_token, approval_token = request.path_params["page_token"], request.path_params["approval_token"]
    state, enrolment_page = state_of(request), f"/enrol/{page_token}"
    if challenge.state is ChallengeState.CONSUMED:
        return redirect(request, enrolment_page)
    if challenge.state is ChallengeState.ACCEPTED:
        approve = state.store.enrolments.approve
        return await _approved(
            request,
            await run_in_threadpool(approve, page_token, challenge.id, state.clock(), state.settings.key_policy),
        )
    here, back = f"{enrolment_page}/approve/{approval_token}", _enrolment_address(request, challenge)
    return await challenge_page(request, challenge, approval_token, base=here, passed=here, return_url=back)


def _enrolment_address(request: Request, _challenge: Challenge) -> str:
    return f"{state_of(request).settings.base_path}/enrol/{request.path_params['page_token']}"


async def _approved(request: Request, outcome: Outcome) -> Response:
    enrolment, state = outcome.enrolment, state_of(request)
    if enrolment is not None and enrolment.key is not None:
        log_outcome(outcome, Presentation(enrolment.key, enrolment.client_ip, enrolment.source or "ssh"))
    try:
        _check_outcome(outcome, state)
    except FaultError as fault:
        return await _render(request, 400, await _enrolment_of(request), fault=_(fault.text))
    return redirect(request, f"/enrol/{request.path_params['page_token']}")


async def _approval_of(request: Request) -> Challenge | None:
    """Returns the challenge that approves the key of this enrolment, if the path names both."""
    enrolment, state = await _enrolment_of(request), state_of(request)
    challenge = await run_in_threadpool(state.store.challenges.of_page, request.path_params["approval_token"])
    return challenge if enrolment and challenge and enrolment.approval == challenge.id else None


async def _enrolment_of(request: Request) -> Enrolment | None:
    return await run_in_threadpool(state_of(request).store.enrolments.of_page, request.path_params["page_token"])


async def _apply(request: Request, action: str, form: Form, enrolment: Enrolment) -> str | None:
    """Does what the form wants. Returns the path of the page to go to, or None for this page. Raises `FaultError`."""
    state, page_token = state_of(request), request.path_params["page_token"]
    now, enrolments, policy = state.clock(), state.store.enrolments, state.settings.key_policy
    if action == "confirm" and enrolment.key is not None:
        attested = await run_in_threadpool(attested_device, form, state, enrolment, enrolment.key)
        fingerprint = form.text("fingerprint")
        if name := one_line(form.text("name")):
            await run_in_threadpool(enrolments.name_key, page_token, fingerprint, name, now)
        outcome = await run_in_threadpool(enrolments.confirm, page_token, fingerprint, now, policy, attested)
        if outcome.verdict is Verdict.APPROVAL_REQUIRED and outcome.enrolment is not None:
            return await _ask_for_approval(request, outcome.enrolment, attested)
        presentation = Presentation(enrolment.key, enrolment.client_ip, enrolment.source or "ssh")
    elif action == "refuse" and enrolment.key is not None:
        if not await run_in_threadpool(enrolments.refuse, page_token, now):
            raise FaultError(FAULTS[Verdict.NONE])
        fingerprint = enrolment.key.fingerprint
        # A warning for the operator: another person had the code.
        get_logger().warning(
            "enrolment.refused", enrolment=enrolment.id, user=enrolment.user, fingerprint=fingerprint,
            client_ip=enrolment.client_ip,
        )  # fmt: skip
        return None
    elif action == "sign":
        presentation = await run_in_threadpool(signed_key, form, enrolment)
        outcome = await run_in_threadpool(enrolments.present_signed, page_token, presentation, now, policy)
    else:
        raise FaultError(FAULTS["bad_form"])
    log_outcome(outcome, presentation)
    _check_outcome(outcome, state)
    return None


async def _ask_for_approval(request: Request, enrolment: Enrolment, attested: str | None) -> str:
    """Opens the challenge that an existing key must pass, and returns the path of its page. Raises `FaultError`."""
    state, now, key = state_of(request), state_of(request).clock(), enrolment.key
    if key is None:
        raise FaultError(FAULTS[Verdict.NONE])
    context = Context(TO_ADD.format(fingerprint=key.fingerprint), client_address(request), user_agent(request))
    lifetime = min(timedelta(seconds=state.settings.lifetime), enrolment.expires_at - now)
    call = Call(request)
    opened = await run_in_threadpool(logins.open_login, call, Wish(enrolment.user, lifetime, context=context))
    state.changes.notify(call.changed)
    wait = state.store.enrolments.await_approval
    outcome = await run_in_threadpool(wait, enrolment, opened.challenge.id, now, attested)
    if outcome.verdict is not Verdict.APPROVAL_REQUIRED:
        raise FaultError(FAULTS[Verdict.NONE])
    return f"/enrol/{request.path_params['page_token']}/approve/{opened.page_token}"


def _check_outcome(outcome: Outcome, state: AppState) -> None:
    if outcome.refusal is not None:
        raise FaultError(policy_sentence(outcome.refusal, state.settings.key_policy))
    if outcome.verdict not in (Verdict.PRESENTED, Verdict.CONFIRMED):
        raise FaultError(FAULTS.get(outcome.verdict, FAULTS["bad_form"]))


async def _render(
    request: Request,
    status: int,
    enrolment: Enrolment | None,
    *,
    by_signature: bool = False,
    fault: str | None = None,
    form: Form | None = None,
) -> Response:
    """Returns the page. `form`: the form that was refused. The page shows its texts again."""
    if enrolment is None:
        title, sentence = map(_, TEXTS["unknown"])
        return render(
            request, "enrol.html", 404, keeps_opener=True, title=title, sentence=sentence, page_state="unknown",
            fault=None,
        )  # fmt: skip
    state, given = state_of(request), form or Form()
    values = _page_values(state, request.path_params["page_token"], enrolment, by_signature=by_signature)
    needs_approval = values["page_state"] == State.PRESENTED and enrolment.opened_in == Method.SSH
    title, sentence = map(_, TEXTS["approval" if needs_approval else values["page_state"]])
    session = await session_of(request)
    # A reload would delete what the person types, hide a fault, or close what the person reads.
    is_calm = values["page_state"] != State.OPEN or fault is not None or request.query_params.get("more") == "1"
    return render(
        request,
        "enrol.html",
        status,
        refresh=None if is_calm else REFRESH_SECONDS,
        keeps_opener=True,
        title=title,
        sentence=sentence,
        fault=fault,
        given={name: given.pasted(name) for name in ("public_key", "signature")},
        is_signed_in=session is not None and session.user == enrolment.user,
        is_calm=is_calm,
        suggested_name=first_use.suggested_name(request, enrolment.key),
        max_name=MAX_NAME,
        has_alias=has_alias(request),
        **first_use.values(request, state.settings.ssh_server, *values["words"]),
        **values,
    )


def _seconds_left(enrolment: Enrolment, now: datetime) -> int:
    return max(0, math.ceil((enrolment.expires_at - now).total_seconds()))


def _page_values(state: AppState, page_token: str, enrolment: Enrolment, *, by_signature: bool) -> dict[str, Any]:
    settings, now = state.settings, state.clock()
    page_state = str(enrolment.state_at(now))
    over_ssh = settings.enrolment_over_ssh
    if page_state == State.OPEN and (by_signature or not over_ssh):
        page_state = "signature"
    text = sshsig.text_to_sign(enrolment.user, enrolment.id).rstrip("\n")
    code = hyphenate(state.store.enrolments.code_of(page_token))
    left = _seconds_left(enrolment, now)
    return {
        "page_state": page_state,
        "user": enrolment.user,
        "state": enrolment.state_at(now),
        "expires_in": left,
        "left": _(_LEFT.get(page_state, _LEFT[State.OPEN])).format(time=clock(left)),
        "over_ssh": over_ssh,
        "words": ("enrol", code),
        "command": settings.ssh_command("enrol", code),
        "short_command": settings.ssh_server.short_command("482913"),
        "config_block": settings.ssh_server.config_block(first_use.identity_file(enrolment.key)),
        "sign_commands": {shell: sign_command(text, sshsig.NAMESPACE, shell) for shell in Shell},
        "challenge_command": (
            f"echo {quoted(text, Shell.POSIX)} > challenge; "
            "ssh-keygen -t ed25519-sk -O challenge=challenge -O write-attestation=attestation"
        ),
        "takes_attestations": settings.key_policy.attestation_roots is not None,
        "needs_attestation": settings.key_policy.require_attestation,
        "base": f"{settings.base_path}/enrol/{page_token}",
        "key": enrolment.key and _key_values(enrolment, enrolment.key),
    }


def _key_values(enrolment: Enrolment, key: PublicKey) -> dict[str, Any]:
    return {
        "type": _("{type} ({bits} bits)").format(type=short_name(key), bits=bits(key)),
        "fingerprint": key.fingerprint,
        "randomart": "\n".join(randomart(key)),
        "is_security_key": key.is_security_key,
        "how": source(enrolment.source or "ssh"),
        "client_ip": enrolment.client_ip,
        "name": enrolment.name,
    }


ROUTES = [
    Route("/enrol/{page_token}", page, methods=["GET"]),
    Route("/enrol/{page_token}", decide, methods=["POST"]),
    Route("/enrol/{page_token}/state", page_state, methods=["GET"]),
    Route("/enrol/{page_token}/approve/{approval_token}", approval, methods=["GET"]),
    Route("/enrol/{page_token}/alias", choose_alias, methods=["POST"]),
    *challenge_routes("/enrol/{page_token}/approve/{approval_token}", _approval_of, _enrolment_address),
]
