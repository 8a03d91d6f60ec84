"""Has one calm sentence for each state. It tells the person what to do next, and nothing about the internals."""

from sshaft import exit_status
from sshaft.text import printable

USAGE = "Usage: ssh ... CODE (the digits that your login page shows), or: ssh ... deny"
ENROL_USAGE = "Usage: ssh ... enrol CODE (the digits that the page of your invitation shows)"
_OTHER_KEY = "If another key of yours is, run the same command again at once: ssh then offers it."
_NEW_CONNECTION = "If you share connections, add -o ControlPath=none."

_SENTENCES = {
    "accepted": (exit_status.OK, "Passed. Your login goes on in the browser."),
    "presented": (exit_status.OK, "Type it where your login asks for it:"),
    "rejected": (
        exit_status.DENIED,
        "Denied. The waiting login is stopped. If it was not yours, tell your administrators.",
    ),
    "code_required": (exit_status.USAGE, "Your login needs the code that its page shows."),
    "choice_required": (
        exit_status.USAGE,
        "Several logins may be yours. Run the same ssh command in a terminal and choose one.",
    ),
    "not_chosen": (exit_status.DENIED, "Nothing was passed, because you chose none. Your logins still wait."),
    "invalid_code": (exit_status.WRONG_CODE, "That is not the code of your login."),
    "other_user": (
        exit_status.WRONG_CODE,
        "That code belongs to the login of another person. Use the code that your own page shows.",
    ),
    "no_challenge": (exit_status.NO_LOGIN, "No login is waiting for you. Start it in the browser first."),
    "expired": (exit_status.NO_LOGIN, "Your login has expired. Start it again in the browser."),
    "cancelled": (exit_status.NO_LOGIN, "Your login has been cancelled. Start it again in the browser."),
    "already_rejected": (
        exit_status.NO_LOGIN,
        "Your login was stopped: it was denied, or its codes were wrong. Start it again in the browser.",
    ),
    "already_used": (exit_status.NO_LOGIN, "Your login has been passed already."),
    "too_many_attempts": (exit_status.TOO_MANY, "Too many wrong codes. Start the login again in the browser."),
    "not_confirmed": (exit_status.DENIED, "Nothing was passed. `ssh ... deny` stops a login that is not yours."),
    "address_mismatch": (
        exit_status.NO_PERMISSION,
        "Your browser and this ssh come from different addresses, which is not allowed here.",
    ),
    "verification_required": (
        exit_status.NO_PERMISSION,
        "This login needs a security key that asks for its PIN or a finger. With such a key, run the command again.",
    ),
    "unknown_key": (exit_status.NO_PERMISSION, "This key is no longer registered for you."),
    "refused": (exit_status.NO_PERMISSION, "Your login was refused. Tell your administrators."),
    "invalid_ticket": (
        exit_status.NO_PERMISSION,
        f"This connection is too old. Run the ssh command again. {_NEW_CONNECTION}",
    ),
    "passed_before": (
        exit_status.NO_PERMISSION,
        "This connection has passed a login already. The next one needs its own: add -o ControlPath=none.",
    ),
    "too_many_prompts": (
        exit_status.TEMPORARY,
        "Too many ssh logins wait for an answer. End the others, or give the code with the command: ssh ... CODE.",
    ),
    "wrong_key": (exit_status.NO_PERMISSION, "Keys of this type are not taken here."),
    "no_denials": (exit_status.CONFIGURATION, "Denying is not possible here. Leave the login alone: it will expire."),
    "not_registered": (
        exit_status.NO_PERMISSION,
        f"This key is not registered. {_OTHER_KEY} To register this key, wait half a minute: ssh ... enrol CODE.",
    ),
    "no_enrolments": (exit_status.CONFIGURATION, "Keys can't be registered here. Ask your administrators how."),
    "unavailable": (exit_status.UNAVAILABLE, "The login service can't be reached just now. Try again in a minute."),
    "misconfigured": (exit_status.CONFIGURATION, "This host is not set up for it. Tell your administrators."),
}


def sentence(state: str, attempts_left: str = "", reference: str = "", retry_after: str = "") -> tuple[int, str]:
    """Returns exit status and sentence. An unknown state is a refusal. `reference` finds the login in the logs."""
    status, text = _SENTENCES.get(state, _SENTENCES["refused"])
    left = _number(attempts_left)
    if state == "invalid_code" and left is not None:
        if left == 0:
            status = exit_status.TOO_MANY
        text += {0: " No try is left: start the login again in the browser.", 1: " 1 try is left."}.get(
            left, f" {left} tries are left."
        )
    seconds = _number(retry_after)
    if state == "too_many_attempts" and seconds is not None:
        text = f"Too many wrong codes. You can try again in {duration(max(seconds, 1))}; a new login does not help."
    if status >= exit_status.UNAVAILABLE and reference.isalnum() and reference.isascii():
        text += f" (reference {reference[:8]})"
    return status, text


def _number(text: str) -> int | None:
    return int(text[:9]) if text.isascii() and text.isdigit() else None


def duration(seconds: int) -> str:
    """Returns a time in seconds or in whole minutes, rounded up."""
    count, unit = (seconds, "second") if seconds < 120 else (-(-seconds // 60), "minute")
    return f"{count} {unit}{'' if count == 1 else 's'}"


def message_for(answer: dict[str, str], described: str = "") -> tuple[int, str]:
    """Returns exit status and the whole text for an answer of the agent.

    `described` is what the person has read about the login before.
    """
    state, reference = answer.get("state", ""), answer.get("reference", "")
    status, text = sentence(state, answer.get("attempts_left", ""), reference, answer.get("retry_after", ""))
    code, user = answer.get("code", ""), answer.get("user", "")
    if state == "accepted" and user:
        text = text.replace("Passed", f"Passed for {printable(user, 64)}", 1)
    text = _ending(state, answer) or text
    if state == "presented":
        if not (code.isascii() and code.isdigit()):
            return sentence("unavailable", reference=reference)
        text += f" {code}"
    return status, ("" if about(answer) == described else describe_login(answer)) + text


_BECAUSE = {
    "cancelled_in_browser": " in the browser. Start it again there.",
    "superseded": ": a newer one took its place. Use the code that the newest page shows.",
    "same_code": ": two logins had the same code. Start it again in the browser.",
}


def _ending(state: str, answer: dict[str, str]) -> str:
    """Returns when and how a login ended that is over, or an empty text if the agent does not know."""
    ago, key = _number(answer.get("ended_ago", "")), answer.get("ended_with", "")
    if ago is None:
        return ""
    when = f"{duration(ago)} ago" if ago else "just now"
    because = answer.get("ended_because", "")
    in_browser = " in the browser" if because == "not_me" else ""
    by_key = f"{when}, with the key {printable(key, 80)}" if key else when
    return {
        "already_used": f"Your login was passed already: {by_key}. If that was not you, tell your administrators.",
        "already_rejected": f"Your login was denied{in_browser}: {by_key}. Start it again in the browser.",
        "expired": f"Your login expired {when}. Start it again in the browser.",
        "cancelled": f"Your login was cancelled {when}" + _BECAUSE.get(because, ". Start it again in the browser."),
    }.get(state, "")


def describe_login(answer: dict[str, str], letter: str = "") -> str:
    """Returns a line with the app, the browser's address and the age of the login, if known.

    `letter` is that of one of several logins.
    """
    what, age = about(answer, letter), _number(answer.get(f"age{letter}", ""))
    if what and age is not None:
        what += f", started {duration(age)} ago"
    return f"Login {what}.\n" if what else ""


def about(answer: dict[str, str], letter: str = "") -> str:
    """Returns the app and the browser's address of a login, if known."""
    app, address = answer.get(f"app{letter}"), answer.get(f"address{letter}")
    parts = [f"to {printable(app, 80)}"] if app else []
    if address:
        parts.append(f"from a browser at {printable(address, 64)}")
    return ", ".join(parts)


def choices(answer: dict[str, str]) -> list[str]:
    """Returns the descriptions of the logins among which the person chooses, in their order."""
    count = _number(answer.get("choices", "")) or 0
    described = [describe_login(answer, f"_{letter}") for letter in "abcdefghi"[:count]]
    return [text.removeprefix("Login ").strip() or "a login without a description." for text in described]
