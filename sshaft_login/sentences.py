"""What the person at the terminal reads: one calm sentence a state, what to do next, and nothing of our insides."""

from sshaft import exit_status

USAGE = "Usage: ssh ... CODE (the digits that your login page shows), or: ssh ... deny"

_SENTENCES = {
    "accepted": (exit_status.OK, "Passed. Your login goes on in the browser."),
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
    "unknown_key": (exit_status.NO_PERMISSION, "This key is no longer registered for you."),
    "refused": (exit_status.NO_PERMISSION, "The identity service refused."),
    "invalid_ticket": (exit_status.NO_PERMISSION, "This took too long or was used before. Run the ssh command again."),
    "wrong_key": (exit_status.NO_PERMISSION, "This connection used another key than it was opened for."),
    "no_denials": (exit_status.CONFIGURATION, "Denying is not possible here. Leave the login alone: it will expire."),
    "unavailable": (exit_status.UNAVAILABLE, "The login service can't be reached just now. Try again in a minute."),
    "misconfigured": (exit_status.CONFIGURATION, "This host is not set up for it. Tell your administrators."),
}


def sentence(state: str, attempts_left: str = "", reference: str = "") -> tuple[int, str]:
    """Exit status and sentence. An unknown state is a no. `reference` finds the matter in the logs."""
    status, text = _SENTENCES.get(state, _SENTENCES["refused"])
    if state == "invalid_code" and attempts_left.isascii() and attempts_left.isdigit():
        left = int(attempts_left[:3])
        text += {0: " No try is left: start the login again in the browser.", 1: " 1 try is left."}.get(
            left, f" {left} tries are left."
        )
    if status >= exit_status.UNAVAILABLE and reference.isalnum() and reference.isascii():
        text += f" (reference {reference[:8]})"
    return status, text
