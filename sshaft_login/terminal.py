"""The terminal's side: what the person typed, what they are asked, and for how long. Built-in modules only."""

import _signal
import posix

from sshaft import exit_status
from sshaft.text import printable
from sshaft_login.sentences import USAGE, sentence

TYPING_SECONDS = 90.0
"""Below the ticket's two minutes."""
MAX_CODE = 12


class StopError(Exception):
    """Nothing more to do: the exit status and the sentence."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text


def read_wish(command: str) -> str:
    """The digits of a code, `deny`, or nothing; anything else stops with the usage."""
    wish = command.strip(" ")
    if wish in ("", "deny"):
        return wish
    return read_code(wish) or _stop(exit_status.USAGE, USAGE)


def read_code(text: str) -> str:
    """`482 913` and `48-29-13` as `482913`; nothing for what is no code."""
    digits = text.strip(" \t\r\n").replace(" ", "").replace("-", "")
    plain = all(c in "0123456789" for c in digits) and len(digits) <= MAX_CODE and not text.startswith("-")
    return digits if plain else ""


def ask_code() -> str:
    """The code from the terminal or from plain standard input; without one it stops with what to do."""
    set_deadline(TYPING_SECONDS, exit_status.USAGE, "\nNo code came. Run the ssh command again with the code.")
    line = _ask("Code: ")
    if line:
        return read_code(line) or _stop(exit_status.USAGE, USAGE)
    return _stop(exit_status.USAGE, f"{sentence('code_required')[1]} {USAGE}")


def confirm(what: str, client_ip: str) -> None:
    """Ask whether the login is the person's own; it stops at everything but a yes."""
    no = sentence("not_confirmed")
    set_deadline(TYPING_SECONDS, no[0], "\n" + no[1])
    here = f"This ssh comes from {printable(client_ip, 64)}.\n" if client_ip else ""
    if _ask(f"{what}{here}Is this login yours? [y/N] ").lower() not in ("y", "yes"):
        raise StopError(*no)


def _ask(prompt: str) -> str:
    """One line from the terminal or from plain standard input, without the blanks around it."""
    write(2, prompt)
    typed = b""
    while b"\n" not in typed and len(typed) < 256:
        part = posix.read(0, 256)
        if not part:
            break
        typed += part
    return typed.partition(b"\n")[0].decode("ascii", "replace").strip(" \t\r\n")


def set_deadline(seconds: float, status: int, text: str) -> None:
    """From now on this process ends after `seconds` with `status` and `text`, whatever it waits for."""

    def too_late(*_: object) -> None:
        write(2, text + "\n")
        posix._exit(status)  # noqa: SLF001 - os._exit by its other name: nothing may run after this

    _signal.signal(_signal.SIGALRM, too_late)
    _signal.setitimer(_signal.ITIMER_REAL, seconds)


def write(file: int, text: str) -> None:
    try:  # noqa: SIM105 - contextlib is no built-in module
        posix.write(file, text.encode())
    except OSError:  # the person has gone
        pass


def _stop(status: int, text: str) -> str:
    raise StopError(status, text)
