"""Reads the words of the person, asks for a code or a confirmation, and sets deadlines. Loads only built-in modules."""

import _signal
import posix

from sshaft import exit_status
from sshaft.text import printable
from sshaft_login.sentences import USAGE, sentence

_TYPING_SECONDS = 90.0
"""Less than the two minutes of a ticket."""
_MAX_CODE = 12
ENROL = "enrol"


class StopError(Exception):
    """Ends the program with this exit status and sentence."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text


def read_wish(command: str) -> str:
    """Returns the digits of a code, `deny`, `enrol`, `enrol` and the digits of its code, or an empty string.

    Raises `StopError` with the usage for other words.
    """
    wish = command.strip(" ")
    first, _, code = wish.partition(" ")
    if first == ENROL:
        return ENROL + (read_code(code) or _stop(exit_status.USAGE, USAGE)) if code.strip(" ") else ENROL
    if wish in ("", "deny"):
        return wish
    return read_code(wish) or _stop(exit_status.USAGE, USAGE)


def read_code(text: str) -> str:
    """Returns `482 913` and `48-29-13` as `482913`, and an empty string for other text."""
    digits = text.strip(" \t\r\n").replace(" ", "").replace("-", "")
    plain = all(c in "0123456789" for c in digits) and len(digits) <= _MAX_CODE and not text.startswith("-")
    return digits if plain else ""


def ask_code() -> str:
    """Returns the code that the person types. Raises `StopError` with advice if no code comes."""
    set_deadline(_TYPING_SECONDS, exit_status.USAGE, "\nNo code came. Run the ssh command again with the code.")
    line = _ask("Code: ")
    if line:
        return read_code(line) or _stop(exit_status.USAGE, USAGE)
    return _stop(exit_status.USAGE, f"{sentence('code_required')[1]} {USAGE}")


def confirm(description: str, client_ip: str) -> None:
    """Asks whether the login is the person's own. Raises `StopError` for any answer but yes."""
    no = sentence("not_confirmed")
    set_deadline(_TYPING_SECONDS, no[0], "\n" + no[1])
    here = f"This ssh comes from {printable(client_ip, 64)}.\n" if client_ip else ""
    if _ask(f"{description}{here}Is this login yours? [y/N] ").lower() not in ("y", "yes"):
        raise StopError(*no)


def _ask(prompt: str) -> str:
    """Returns one line from the terminal or standard input, without the blanks around it."""
    write(2, prompt)
    typed = b""
    while b"\n" not in typed and len(typed) < 256:
        part = posix.read(0, 256)
        if not part:
            break
        typed += part
    return typed.partition(b"\n")[0].decode("ascii", "replace").strip(" \t\r\n")


def set_deadline(seconds: float, status: int, text: str) -> None:
    """Ends this process after `seconds` with `status` and `text`, unless another deadline is set before."""

    def too_late(*_: object) -> None:
        write(2, text + "\n")
        posix._exit(status)  # noqa: SLF001 - this is os._exit: no other code may run after it

    _signal.signal(_signal.SIGALRM, too_late)
    _signal.setitimer(_signal.ITIMER_REAL, seconds)


def write(file: int, text: str) -> None:
    try:  # noqa: SIM105 - contextlib is no built-in module
        posix.write(file, text.encode())
    except OSError:  # the person has gone
        pass


def _stop(status: int, text: str) -> str:
    raise StopError(status, text)
