"""Has one calm sentence for each state. It tells the person what to do next, and nothing about the internals."""

from sshaft import exit_status
from sshaft.text import printable

USAGE = "Usage: ssh ... CODE (the digits that your login page shows), or: ssh ... deny"

_SENTENCES = {
    "accepted": (exit_status.OK, "Passed. Your login goes on in the browser."),
    "presented": (exit_status.OK, "Type it where your login asks for it:"),
    "rejected": (
        exit_status.DENIED,
        "Denied. The waiting login is stopped. If it was not yours, tell your administrators.",
    ),
    "code_required": (exit_status.USAGE, "Your login needs the code that its page shows."),
    "invalid_code": (exit_status.WRONG_CODE, "That is not the code of your login."),
    "no_challenge": (exit_status.NO_LOGIN, "No login is waiting for you. Start it in the browser first."),
    "expired": (exit_status.NO_LOGIN, "Your login has expired. Start it again in the browser."),
    "cancelled": (exit_status.NO_LOGIN, "Your login has been cancelled. Start it again in the browser."),
    "already_rejected": (exit_status.NO_LOGIN, "Your login has been rejected. Start it again in the browser."),
    "already_used": (exit_status.NO_LOGIN, "Your login has been passed already."),
    "too_many_attempts": (exit_status.TOO_MANY, "Too many wrong codes. Start the login again in the browser."),
    "not_confirmed": (exit_status.DENIED, "Nothing was passed. `ssh ... deny` stops a login that is not yours."),
    "address_mismatch": (
        exit_status.NO_PERMISSION,
        "Your browser and this ssh come from different addresses, which is not allowed here.",
    ),
    "verification_required": (
        exit_status.NO_PERMISSION,
        "This login needs a security key that asks for its PIN or a finger.",
    ),
    "unknown_key": (exit_status.NO_PERMISSION, "This key is no longer registered for you."),
    "refused": (exit_status.NO_PERMISSION, "The identity service refused."),
    "invalid_ticket": (exit_status.NO_PERMISSION, "This took too long or was used before. Run the ssh command again."),
    "wrong_key": (exit_status.NO_PERMISSION, "This connection used another key than it was opened for."),
    "no_denials": (exit_status.CONFIGURATION, "Denying is not possible here. Leave the login alone: it will expire."),
    "not_registered": (
        exit_status.NO_PERMISSION,
        "This key is not registered. If another key of yours is: ssh -o IdentitiesOnly=yes -i THAT-KEY ...",
    ),
    "no_enrolments": (exit_status.CONFIGURATION, "Keys can't be registered here. Ask your administrators how."),
    "unavailable": (exit_status.UNAVAILABLE, "The login service can't be reached just now. Try again in a minute."),
    "misconfigured": (exit_status.CONFIGURATION, "This host is not set up for it. Tell your administrators."),
}


def sentence(state: str, attempts_left: str = "", reference: str = "") -> tuple[int, str]:
    """Returns exit status and sentence. An unknown state is a refusal. `reference` finds the login in the logs."""
    status, text = _SENTENCES.get(state, _SENTENCES["refused"])
    if state == "invalid_code" and attempts_left.isascii() and attempts_left.isdigit():
        left = int(attempts_left[:3])
        text += {0: " No try is left: start the login again in the browser.", 1: " 1 try is left."}.get(
            left, f" {left} tries are left."
        )
    if status >= exit_status.UNAVAILABLE and reference.isalnum() and reference.isascii():
        text += f" (reference {reference[:8]})"
    return status, text


def message_for(answer: dict[str, str]) -> tuple[int, str]:
    """Returns exit status and the whole text for an answer of the agent."""
    status, text = sentence(answer.get("state", ""), answer.get("attempts_left", ""), answer.get("reference", ""))
    code = answer.get("code", "")
    if answer.get("state") == "presented":
        if not (code.isascii() and code.isdigit()):
            return sentence("unavailable", reference=answer.get("reference", ""))
        text += f" {code}"
    return status, describe_login(answer) + text


def describe_login(answer: dict[str, str]) -> str:
    """Returns a line with the app, the browser's address and the age of the login, if known."""
    parts = []
    if answer.get("app"):
        parts.append(f"to {printable(answer['app'], 80)}")
    if answer.get("address"):
        parts.append(f"from a browser at {printable(answer['address'], 64)}")
    age = answer.get("age", "")
    if parts and age.isascii() and age.isdigit():
        parts.append(_ago(int(age[:9])))
    return f"Login {', '.join(parts)}.\n" if parts else ""


def _ago(seconds: int) -> str:
    count, unit = (seconds, "second") if seconds < 120 else (seconds // 60, "minute")
    return f"started {count} {unit}{'' if count == 1 else 's'} ago"
