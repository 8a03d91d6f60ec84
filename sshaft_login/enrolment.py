"""Tells the person the outcome of `ssh mfa@host enrol 5821-7741`. Loads only built-in modules."""

from sshaft import exit_status
from sshaft_login import sentences
from sshaft_login.asking import ask
from sshaft_login.terminal import StopError, ask_code, write
from sshaft_login.words import ENROL

_SENTENCES = {
    "invalid_code": (exit_status.WRONG_CODE, "That is not the code of an open invitation."),
    "no_enrolment": (exit_status.NO_LOGIN, "No invitation is open. Ask for a new one."),
    "too_many_prompts": (
        exit_status.TEMPORARY,
        "Too many ssh logins wait for an answer. Give the code with the command: ssh ... enrol CODE.",
    ),
    "already_presented": (
        exit_status.NO_PERMISSION,
        "Another key was presented for this invitation. Look at its page; if that key is not yours, refuse it there.",
    ),
    "already_registered": (exit_status.NO_PERMISSION, "This key is registered for you already. Nothing was changed."),
    "key_taken": (
        exit_status.NO_PERMISSION,
        "This key belongs to somebody else. One key belongs to one person: present another one.",
    ),
}
_ASKS = 3
_REASONS = {
    "type_not_allowed": "Keys of this type are not taken here.",
    "rsa_too_short": "This RSA key is too short. Present a longer one, or an Ed25519 key.",
    "security_key_required": "Only security keys (ssh-keygen -t ed25519-sk) are taken here.",
    "attestation_required": "Only security keys with an attestation are taken here. The page says how.",
    "too_many_keys": "You have as many keys as a person may have. Remove one first.",
}


def run(agent: str, fields: dict[str, str], code: str) -> tuple[int, str]:
    """Presents the code, or asks for one: again after a wrong one. Returns exit status and text."""
    answer = ask(agent, ENROL, fields | ({"code": code} if code else {}))
    for _ in range(_ASKS):
        state = answer.get("state")
        if code or state not in ("code_required", "invalid_code"):
            break
        if state == "invalid_code":
            write(2, sentence(answer)[1] + "\n")
        typed = ask_code(sentences.ENROL_USAGE)
        if not typed.isdigit():
            raise StopError(exit_status.USAGE, sentences.ENROL_USAGE)
        answer = ask(agent, ENROL, fields | {"code": typed})
    return sentence(answer)


def sentence(answer: dict[str, str]) -> tuple[int, str]:
    """Returns exit status and text. An unknown state is a refusal."""
    state = answer.get("state", "")
    if state == "presented":
        picture = f"{answer.get('fingerprint', '')}\n{answer.get('randomart', '')}"
        if not all(c == "\n" or " " <= c <= "~" for c in picture):
            picture = ""
        return exit_status.OK, f"Presented. Compare the fingerprint on the page and confirm there:\n{picture}"
    if state == "key_refused":
        reason = _REASONS.get(answer.get("reason", ""), "This key is not taken here.")
        return exit_status.NO_PERMISSION, reason
    if state == "too_many_attempts":
        seconds = answer.get("retry_after", "")
        left = sentences.duration(int(seconds[:9])) if seconds.isascii() and seconds.isdigit() else "15 minutes"
        return exit_status.TOO_MANY, f"Too many wrong codes. Try again in {left}."
    return _SENTENCES.get(state) or sentences.sentence(state, reference=answer.get("reference", ""))
