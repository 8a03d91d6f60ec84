"""Serves the enrolment page: shows how to present a key, then lets the person confirm or refuse the presented key.
The secret path of the page authorizes all its forms. The page works without scripts; with scripts it updates itself.
"""

import math
from datetime import datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft.public_key import PublicKey
from sshaft.randomart import bits, randomart, short_name
from sshaft_identity.enrolment import sshsig
from sshaft_identity.enrolment.enrolment import Enrolment, Outcome, Presentation, State, Verdict, hyphenate, log_outcome
from sshaft_identity.pages.enrolment_form import FAULTS, FaultError, Form, attested_device, form_of, signed_key
from sshaft_identity.pages.signed_in import session_of
from sshaft_identity.pages.words import clock, source
from sshaft_identity.people.key_policy import sentence as policy_sentence
from sshaft_identity.web.html import redirect, render
from sshaft_identity.web.problem import problem
from sshaft_identity.web.state import AppState, state_of

REFRESH_SECONDS = 3

TEXTS: dict[str, tuple[str, str]] = {
    State.OPEN: ("Register an SSH key", "Run this command in a terminal, with the key that you want to register."),
    "signature": ("Register an SSH key", "Sign a line with the key, and bring the public key and the signature here."),
    State.PRESENTED: (
        "Is this your key?",
        "Compare it with what your terminal shows. It passes your logins only after you confirm it.",
    ),
    State.CONFIRMED: ("Registered", "From now on this key passes your logins."),
    State.REFUSED: (
        "Not registered",
        "You said that the key is not yours. Tell your administrator, and ask for a new invitation.",
    ),
    State.EXPIRED: ("Too late", "This invitation is no longer valid. Ask for a new one."),
    State.CANCELLED: ("Over", "This invitation was replaced by a new one, or ended. Ask for a new one if you need it."),
    "unknown": ("No such invitation", "This address belongs to no invitation, or to one that was long ago."),
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
    form = Form()
    try:
        form = await form_of(request)
        await _apply(form.text("action"), form, state_of(request), page_token, enrolment)
    except FaultError as fault:
        enrolment, by_signature = await _enrolment_of(request), form.text("action") == "sign"
        return await _render(request, 400, enrolment, by_signature=by_signature, fault=str(fault), form=form)
    return redirect(request, f"/enrol/{page_token}")


async def _enrolment_of(request: Request) -> Enrolment | None:
    return await run_in_threadpool(state_of(request).store.enrolments.of_page, request.path_params["page_token"])


async def _apply(action: str, form: Form, state: AppState, page_token: str, enrolment: Enrolment) -> None:
    now, enrolments, policy = state.clock(), state.store.enrolments, state.settings.key_policy
    if action == "confirm" and enrolment.key is not None:
        attested = await run_in_threadpool(attested_device, form, state, enrolment, enrolment.key)
        fingerprint = form.text("fingerprint")
        outcome = await run_in_threadpool(enrolments.confirm, page_token, fingerprint, now, policy, attested)
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
        return
    elif action == "sign":
        presentation = await run_in_threadpool(signed_key, form, enrolment)
        outcome = await run_in_threadpool(enrolments.present_signed, page_token, presentation, now, policy)
    else:
        raise FaultError(FAULTS["bad_form"])
    log_outcome(outcome, presentation)
    _check_outcome(outcome, state)


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
        title, sentence = TEXTS["unknown"]
        return render(
            request, "enrol.html", 404, keeps_opener=True, title=title, sentence=sentence, page_state="unknown",
            fault=None,
        )  # fmt: skip
    state, given = state_of(request), form or Form()
    values = _page_values(state, request.path_params["page_token"], enrolment, by_signature=by_signature)
    title, sentence = TEXTS[values["page_state"]]
    session = await session_of(request)
    return render(
        request,
        "enrol.html",
        status,
        # never while the person may type, or while the page shows a fault that the person has not read yet
        refresh=REFRESH_SECONDS if values["page_state"] == State.OPEN and fault is None else None,
        keeps_opener=True,
        title=title,
        sentence=sentence,
        fault=fault,
        given={name: given.pasted(name) for name in ("public_key", "signature")},
        is_signed_in=session is not None and session.user == enrolment.user,
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
        "left": clock(left),
        "over_ssh": over_ssh,
        "command": settings.ssh_command("enrol", code),
        "text": text,
        "sign_commands": _sign_commands(text),
        "challenge_command": (
            f"echo '{text}' > challenge; "
            "ssh-keygen -t ed25519-sk -O challenge=challenge -O write-attestation=attestation"
        ),
        "takes_attestations": settings.key_policy.attestation_roots is not None,
        "needs_attestation": settings.key_policy.require_attestation,
        "base": f"{settings.base_path}/enrol/{page_token}",
        "key": enrolment.key and _key_values(enrolment, enrolment.key),
    }


def _sign_commands(text: str) -> dict[str, str]:
    """Returns the commands that sign `text`, by the names of their shells. No name of a user needs other quotes."""
    sign = f"ssh-keygen -Y sign -n {sshsig.NAMESPACE} -f"
    return {
        "Linux, macOS": f"echo '{text}' | {sign} ~/.ssh/id_ed25519",
        "PowerShell": f"'{text}' | {sign} \"$HOME\\.ssh\\id_ed25519\"",
        "cmd.exe": f'echo {text}| {sign} "%USERPROFILE%\\.ssh\\id_ed25519"',
    }


def _key_values(enrolment: Enrolment, key: PublicKey) -> dict[str, Any]:
    return {
        "type": f"{short_name(key)} ({bits(key)} bits)",
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
]
