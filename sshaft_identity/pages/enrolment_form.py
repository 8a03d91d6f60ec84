"""Reads and checks the forms of the enrolment page. Each refusal is a sentence that the page shows."""

from dataclasses import dataclass, field

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from sshaft import files
from sshaft.public_key import PublicKey
from sshaft.text import printable
from sshaft_identity.common.language import N_
from sshaft_identity.enrolment import attestation, sshsig
from sshaft_identity.enrolment.enrolment import Enrolment, Presentation, Verdict
from sshaft_identity.people.brought_key import PRIVATE_KEY, WrongThingError, is_private, read_key
from sshaft_identity.web.body import body_of
from sshaft_identity.web.problem import ProblemError
from sshaft_identity.web.state import AppState

FAULTS: dict[str, str] = {
    Verdict.NONE: N_("This was decided already, or it is too late."),
    Verdict.ANOTHER: N_("Another key was presented for this invitation. Look at that one first."),
    "no_key": N_("Paste the public key, or choose its .pub file."),
    "no_signature": N_("Paste the signature that ssh-keygen printed, or choose its file."),
    "other_key": N_("The signature is by another key than the public key that you gave."),
    "no_text public_key": N_("The file of the public key is no text. Save it as UTF-8, or paste its content."),
    "no_text signature": N_("The file of the signature is no text. Save it as UTF-8, or paste its content."),
    "bad_form": N_("The form did not arrive completely. Try again."),
}
"""The sentences for faults in the form. The policy, the signature and the attestation have their own sentences."""

MAX_LINE, MAX_LINES = 20_000, 100


@dataclass(frozen=True, slots=True)
class Form:
    values: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def content(self, name: str) -> str:
        """Returns the text of the field NAME, or of the file NAME_file if the field is empty. Raises `FaultError`."""
        text = self.text(name)
        if text.strip():
            return text
        try:
            return files.decode_text(self.files.get(f"{name}_file", b""), errors="replace")
        except files.NotTextError:
            raise FaultError(FAULTS[f"no_text {name}"]) from None

    def pasted(self, name: str) -> str:
        """Returns the text of the field NAME, made safe to show in the field again. A private key is never shown."""
        text = self.text(name)
        if is_private(text):
            return ""
        return "\n".join(printable(line, MAX_LINE) for line in text.splitlines()[:MAX_LINES])


class FaultError(Exception):
    """The form is refused. `text` is a sentence for the page, which `_` translates."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def signed_key(form: Form, enrolment: Enrolment) -> Presentation:
    """Returns the key of the form. Raises `FaultError` unless the key signed the text of this enrolment."""
    given, signature = form.content("public_key"), form.content("signature")
    if not given.strip():
        raise FaultError(FAULTS["no_key"])
    if is_private(given) or is_private(signature):
        raise FaultError(PRIVATE_KEY)
    if not signature.strip():
        raise FaultError(FAULTS["no_signature"])
    try:
        brought = read_key(given)
        signer = sshsig.verify(signature, sshsig.signed_texts(enrolment.user, enrolment.id))
    except (WrongThingError, sshsig.SignatureError) as error:
        raise FaultError(error.args[0]) from None
    if signer != brought.key:
        raise FaultError(FAULTS["other_key"])
    return Presentation(brought.key, source="signature", name=brought.comment)


def attested_device(form: Form, state: AppState, enrolment: Enrolment, key: PublicKey) -> str | None:
    """Returns the device that the attestation names. Returns None without an attestation: the policy may demand one."""
    data = form.files.get("attestation", b"")
    if not data:
        return None
    challenges = sshsig.signed_texts(enrolment.user, enrolment.id)
    try:
        return attestation.verify(data, key, challenges, state.attestation_roots, state.clock())
    except attestation.AttestationError as error:
        raise FaultError(error.args[0]) from None


async def form_of(request: Request) -> Form:
    """Returns the form. Raises `FaultError` if it is too large or malformed."""
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
    except (HTTPException, UnicodeError):  # UnicodeError: an unknown charset
        raise FaultError(FAULTS["bad_form"]) from None
    return Form(values, files)
