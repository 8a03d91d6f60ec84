"""The enrolment page: shows how to present a key, then the key that was presented, for the person to confirm or refuse.

Its address is the invitation: whoever has it may confirm, so nothing else proves who posts. It works without script.
"""

from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from sshaft import public_key
from sshaft.errors import InvalidKeyError
from sshaft.log import get_logger
from sshaft.public_key import PublicKey
from sshaft.randomart import bits, randomart, short_name
from sshaft.text import printable
from sshaft_identity import attestation, sshsig
from sshaft_identity.app_state import AppState, state_of
from sshaft_identity.enrolment_api import grouped, log_outcome
from sshaft_identity.html import redirect, render
from sshaft_identity.incoming import body_of
from sshaft_identity.invitations import Invitation, Outcome, Presentation, State, Verdict
from sshaft_identity.key_policy import sentence
from sshaft_identity.problem import ProblemError

TEXTS: dict[str, tuple[str, str]] = {
    State.OPEN: ("Register an SSH key", "Run this command in a terminal, with the key that you want to register."),
    "signature": ("Register an SSH key", "Sign a line with the key, and bring the public key and the signature here."),
    State.PRESENTED: ("Is this your key?", "Compare it with what your terminal shows. It counts once you confirm."),
    State.CONFIRMED: ("Registered", "From now on this key passes your logins."),
    State.REFUSED: (
        "Not registered",
        "You said that the key is not yours. Tell your administrators, ask for a new one.",
    ),
    State.EXPIRED: ("Too late", "This invitation is no longer valid. Ask for a new one."),
    State.CANCELLED: ("Over", "This invitation was replaced by a new one, or ended. Ask for a new one if you need it."),
    "unknown": ("No such invitation", "This address belongs to no invitation, or to one that was long ago."),
}
"""What the page says in each of its states: a heading and a sentence."""

FAULTS: dict[str, str] = {
    Verdict.NONE: "This was decided already, or it is too late.",
    Verdict.ANOTHER: "Another key was presented for this invitation. Look at that one first.",
    "no_key": "Paste the public key, or choose its .pub file.",
    "no_signature": "Paste the signature that ssh-keygen printed, or choose its file.",
    "not_a_key": "This is not one public key of a kind that is taken here (ssh-ed25519 AAAA... as in the .pub file).",
    "other_key": "The signature is by another key than the public key that you gave.",
    "bad_form": "The form did not arrive whole. Try again.",
}
"""What went wrong with what the person sent; the policy, the signature and the attestation have their own sentences."""

MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Form:
    values: dict[str, str]
    files: dict[str, bytes]

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def content(self, name: str) -> str:
        """What was pasted into NAME, or else the file NAME_file."""
        pasted = self.text(name)
        return pasted if pasted.strip() else self.files.get(f"{name}_file", b"").decode("utf-8", "replace")


class FaultError(Exception):
    """What the person sent does not do. Says why, in a sentence for the page."""


async def page(request: Request) -> Response:
    """`?by=signature` shows the form, which must not be refreshed away while somebody types."""
    state, page_token = state_of(request), request.path_params["page_token"]
    invitation = await run_in_threadpool(state.store.invitations.of_page, page_token)
    return _html(request, 200, invitation, by_signature=request.query_params.get("by") == "signature")


async def decide(request: Request) -> Response:
    """A POST of one of the page's forms. Afterwards the browser gets the page anew, so that reloading repeats nothing.

    The fingerprint that the form carries is what the person saw: another key than that is never confirmed.
    """
    state, page_token = state_of(request), request.path_params["page_token"]
    invitation = await run_in_threadpool(state.store.invitations.of_page, page_token)
    if invitation is None:
        return _html(request, 404, None)
    action = ""
    try:
        form = await _form(request)
        action = form.text("action")
        await _act(action, form, state, page_token, invitation)
    except FaultError as fault:
        invitation = await run_in_threadpool(state.store.invitations.of_page, page_token)
        by_signature = action == "sign"
        return _html(request, 400, invitation, by_signature=by_signature, fault=str(fault))
    return redirect(request, f"/enrol/{page_token}")


async def _act(action: str, form: Form, state: AppState, page_token: str, invitation: Invitation) -> None:
    now, invitations, policy = state.clock(), state.store.invitations, state.settings.key_policy
    if action == "confirm" and invitation.key is not None:
        attested = _attested(form, state, invitation, invitation.key)
        shown = form.text("fingerprint")
        outcome = await run_in_threadpool(invitations.confirm, page_token, shown, now, policy, attested)
        what = Presentation(invitation.key, invitation.client_ip, invitation.source or "ssh")
    elif action == "refuse" and invitation.key is not None:
        if not await run_in_threadpool(invitations.refuse, page_token, now):
            raise FaultError(FAULTS[Verdict.NONE])
        fingerprint = invitation.key.fingerprint
        # Somebody had the code who should not: the operator's business
        get_logger().warning(
            "enrolment.refused", enrolment=invitation.id, user=invitation.user, fingerprint=fingerprint,
            client_ip=invitation.client_ip,
        )  # fmt: skip
        return
    elif action == "sign":
        what = _signed(form, invitation)
        outcome = await run_in_threadpool(invitations.present_signed, page_token, what, now, policy)
    else:
        raise FaultError(FAULTS["bad_form"])
    log_outcome(outcome, what)
    _check(outcome, state)


def _check(outcome: Outcome, state: AppState) -> None:
    if outcome.refusal is not None:
        raise FaultError(sentence(outcome.refusal, state.settings.key_policy))
    if outcome.verdict not in (Verdict.PRESENTED, Verdict.CONFIRMED):
        raise FaultError(FAULTS.get(outcome.verdict, FAULTS["bad_form"]))


def _signed(form: Form, invitation: Invitation) -> Presentation:
    """The key of the form, once its signature over this invitation's text is good."""
    given, signature = form.content("public_key"), form.content("signature")
    if not given.strip():
        raise FaultError(FAULTS["no_key"])
    if not signature.strip():
        raise FaultError(FAULTS["no_signature"])
    try:
        key = public_key.parse(given)
        signer = sshsig.verified(signature, sshsig.text_to_sign(invitation.user, invitation.id).encode())
    except InvalidKeyError:
        raise FaultError(FAULTS["not_a_key"]) from None
    except sshsig.SignatureError as error:
        raise FaultError(str(error)) from None
    if signer != key:
        raise FaultError(FAULTS["other_key"])
    return Presentation(key, source="signature", name=printable(" ".join(given.split()[2:]), MAX_NAME))


def _attested(form: Form, state: AppState, invitation: Invitation, key: PublicKey) -> str | None:
    """What a given attestation says; None where none was given: the policy says whether one must be."""
    data = form.files.get("attestation", b"")
    if not data:
        return None
    challenge = sshsig.text_to_sign(invitation.user, invitation.id).encode()
    try:
        return attestation.verified(data, key, challenge, state.roots, state.clock())
    except attestation.AttestationError as error:
        raise FaultError(str(error)) from None


async def _form(request: Request) -> Form:
    """The form, from a body of limited size."""
    try:
        body = await body_of(request)
    except ProblemError:
        raise FaultError(FAULTS["bad_form"]) from None

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    values: dict[str, str] = {}
    files: dict[str, bytes] = {}
    try:
        async with Request(request.scope, receive).form(max_files=3, max_fields=8) as form:
            for name, value in form.items():
                if isinstance(value, UploadFile):
                    files[name] = await value.read()
                else:
                    values[name] = value
    except HTTPException:
        raise FaultError(FAULTS["bad_form"]) from None
    return Form(values, files)


def _html(
    request: Request,
    status: int,
    invitation: Invitation | None,
    *,
    by_signature: bool = False,
    fault: str | None = None,
) -> Response:
    values = _values(state_of(request), request.path_params["page_token"], invitation, by_signature=by_signature)
    title, text = TEXTS[values["page_state"]]
    status = 404 if invitation is None else status
    return render(request, "enrol.html", status, title=title, sentence=text, fault=fault, **values)


def _values(state: AppState, page_token: str, invitation: Invitation | None, *, by_signature: bool) -> dict[str, Any]:
    if invitation is None:
        return {"page_state": "unknown"}
    settings, now = state.settings, state.clock()
    page_state = str(invitation.state_at(now))
    over_ssh = settings.enrolment_over_ssh
    if page_state == State.OPEN and (by_signature or not over_ssh):
        page_state = "signature"
    text = sshsig.text_to_sign(invitation.user, invitation.id).rstrip("\n")
    code = grouped(state.store.invitations.code_of(page_token))
    left = max(0, int((invitation.expires_at - now).total_seconds()))
    return {
        "page_state": page_state,
        "user": invitation.user,
        "expires_in": left,
        "over_ssh": over_ssh,
        "command": settings.ssh_command("enrol", code),
        "text": text,
        "sign_command": f"echo '{text}' | ssh-keygen -Y sign -n {sshsig.NAMESPACE} -f ~/.ssh/id_ed25519",
        "challenge_command": (
            f"echo '{text}' > challenge; "
            "ssh-keygen -t ed25519-sk -O challenge=challenge -O write-attestation=attestation"
        ),
        "takes_attestations": settings.key_policy.attestation_roots is not None,
        "needs_attestation": settings.key_policy.require_attestation,
        "page_token": page_token,
        "key": invitation.key and _shown(invitation, invitation.key),
    }


def _shown(invitation: Invitation, key: PublicKey) -> dict[str, Any]:
    return {
        "type": f"{short_name(key)} ({bits(key)} bits)",
        "fingerprint": key.fingerprint,
        "randomart": "\n".join(randomart(key)),
        "is_security_key": key.is_security_key,
        "client_ip": invitation.client_ip,
        "name": invitation.name,
    }
