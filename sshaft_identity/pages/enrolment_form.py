"""Reads and checks the forms of the enrolment page. Each refusal is a sentence that the page shows."""

from dataclasses import dataclass, field

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from sshaft import public_key
from sshaft.errors import InvalidKeyError
from sshaft.public_key import PublicKey
from sshaft.text import printable
from sshaft_identity.enrolment import attestation, sshsig
from sshaft_identity.enrolment.enrolment import Enrolment, Presentation, Verdict
from sshaft_identity.web.call import body_of
from sshaft_identity.web.problem import ProblemError
from sshaft_identity.web.state import AppState

FAULTS: dict[str, str] = {
    Verdict.NONE: "This was decided already, or it is too late.",
    Verdict.ANOTHER: "Another key was presented for this invitation. Look at that one first.",
    "no_key": "Paste the public key, or choose its .pub file.",
    "no_signature": "Paste the signature that ssh-keygen printed, or choose its file.",
    "not_a_key": "This is not one public key of a kind that is taken here (ssh-ed25519 AAAA... as in the .pub file).",
    "other_key": "The signature is by another key than the public key that you gave.",
    "bad_form": "The form did not arrive completely. Try again.",
}
"""The sentences for faults in the form. The policy, the signature and the attestation have their own sentences."""

MAX_NAME = 200
MAX_LINE, MAX_LINES = 20_000, 100


@dataclass(frozen=True, slots=True)
class Form:
    values: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def content(self, name: str) -> str:
        """Returns the text of the field NAME, or the content of the file NAME_file if the field is empty."""
        text = self.text(name)
        return text if text.strip() else self.files.get(f"{name}_file", b"").decode("utf-8", "replace")

    def pasted(self, name: str) -> str:
        """Returns the text of the field NAME, made safe to show in the field again."""
        return "\n".join(printable(line, MAX_LINE) for line in self.text(name).splitlines()[:MAX_LINES])


class FaultError(Exception):
    """The form is refused. The message is a sentence for the page."""


def signed_key(form: Form, enrolment: Enrolment) -> Presentation:
    """Returns the key of the form. Raises `FaultError` unless the key signed the text of this enrolment."""
    given, signature = form.content("public_key"), form.content("signature")
    if not given.strip():
        raise FaultError(FAULTS["no_key"])
    if not signature.strip():
        raise FaultError(FAULTS["no_signature"])
    try:
        key = public_key.parse(given)
        signer = sshsig.verify(signature, sshsig.text_to_sign(enrolment.user, enrolment.id).encode())
    except InvalidKeyError:
        raise FaultError(FAULTS["not_a_key"]) from None
    except sshsig.SignatureError as error:
        raise FaultError(str(error)) from None
    if signer != key:
        raise FaultError(FAULTS["other_key"])
    return Presentation(key, source="signature", name=printable(" ".join(given.split()[2:]), MAX_NAME))


def attested_device(form: Form, state: AppState, enrolment: Enrolment, key: PublicKey) -> str | None:
    """Returns the device that the attestation names. Returns None without an attestation: the policy may demand one."""
    data = form.files.get("attestation", b"")
    if not data:
        return None
    challenge = sshsig.text_to_sign(enrolment.user, enrolment.id).encode()
    try:
        return attestation.verify(data, key, challenge, state.attestation_roots, state.clock())
    except attestation.AttestationError as error:
        raise FaultError(str(error)) from None


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
