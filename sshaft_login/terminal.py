"""Asks the person at the terminal, prints, and sets deadlines. Loads only built-in modules."""

import _signal
import posix

from sshaft import exit_status
from sshaft.text import printable
from sshaft_login import sentences
from sshaft_login.words import DENY, read_code, read_wish

_TYPING_SECONDS = 90.0
"""Less than the two minutes of a ticket."""
_MAX_LINE = 4096
_ASKS = 3
_MIN_CODE = 6
"""The digits of the shortest code. A shorter number is the number of a login."""


class StopError(Exception):
    """Ends the program with this exit status and sentence."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text


class _Input:
    """What was read and not used yet, and how the other side ends its lines."""

    typed = b""
    skip_line_feed = False
    """The last line ended in CR: a LF that follows belongs to it."""
    is_raw = False
    """The other side sends CR alone, as a terminal in raw mode does. It wants CR before each LF, too."""


def ask_code(usage: str = sentences.USAGE) -> str:
    """Returns the code that the person types, or `deny`. Raises `StopError` with advice if none comes."""
    set_deadline(_TYPING_SECONDS, exit_status.USAGE, f"\nNo code came. {usage}")
    for _ in range(_ASKS):
        line = _ask("Code: ")
        if line is None:
            raise StopError(exit_status.USAGE, f"\nNo code came. {usage}")
        wish = read_wish(line) or ""
        if wish == DENY or wish.isdigit():
            return wish
        if line:
            write(2, "That is no code: a code has digits only.\n")
    raise StopError(exit_status.USAGE, usage)


def confirm(description: str, client_ip: str) -> None:
    """Asks whether the login is the person's own. Raises `StopError` for any answer but yes.

    A yes is a number that only this question shows, so that nobody can answer it in advance.
    """
    no = sentences.sentence("not_confirmed")
    set_deadline(_TYPING_SECONDS, no[0], "\n" + no[1])
    here = f"This ssh comes from {printable(client_ip, 64)}.\n" if client_ip else ""
    write(2, f"{description}{here}")
    for _ in range(_ASKS):
        number = str(10 + int.from_bytes(posix.urandom(4), "big") % 90)
        _discard_typed()
        line = _ask(f"If this login is yours, type {number}: ")
        if line and read_code(line) == number:
            return
        if not line or line.lower() in ("n", "no"):
            break
    raise StopError(*no)


def choose(descriptions: list[str]) -> str:
    """Returns the number of the login that the person chooses, one digit from 1, or the code of a login page.

    A code means none of the listed logins. Raises `StopError` if the person chooses none.
    """
    no = sentences.sentence("not_chosen")
    set_deadline(_TYPING_SECONDS, no[0], "\n" + no[1])
    listed = "".join(f"  {number}  {text}\n" for number, text in enumerate(descriptions, 1))
    write(2, f"These logins wait for a code from ssh:\n{listed}")
    _discard_typed()
    for _ in range(_ASKS):
        line = _ask("Which one is yours? Its number, or the code that your page shows, or Return for none: ")
        if line is None:
            raise StopError(*sentences.sentence("choice_required"))
        number = read_code(line)
        if len(number) >= _MIN_CODE or (number and 1 <= int(number) <= len(descriptions)):
            return number if len(number) >= _MIN_CODE else str(int(number))
        if not line:
            break
    raise StopError(*no)


def wait_for_return() -> None:
    """Waits until the person has read the text above. The exit status stays as it is."""
    _discard_typed()
    _ask("Press Return to end this session. ")


def _ask(prompt: str) -> str | None:
    """Returns one line from the terminal or standard input, without the blanks around it. None: the input has ended."""
    write(2, prompt)
    while not _has_line() and len(_Input.typed) < _MAX_LINE and (part := _read()):
        _Input.typed += part
    typed = _Input.typed
    if not typed:
        return None
    end = min((place for place in (typed.find(b"\r"), typed.find(b"\n")) if place >= 0), default=len(typed))
    _Input.typed = typed[end + 1 :]
    _Input.skip_line_feed = typed[end : end + 1] == b"\r"
    _Input.is_raw = _Input.skip_line_feed and not _Input.typed.startswith(b"\n")
    return _edited(typed[:end].decode("utf-8", "replace")).strip()


def _has_line() -> bool:
    if _Input.skip_line_feed and _Input.typed:
        _Input.typed = _Input.typed.removeprefix(b"\n")
        _Input.skip_line_feed = False
    return b"\r" in _Input.typed or b"\n" in _Input.typed


def _read() -> bytes:
    """Returns what was typed. Nothing: the input has ended."""
    try:
        return posix.read(0, _MAX_LINE)
    except OSError:  # closed, or the terminal was hung up
        return b""


def _edited(line: str) -> str:
    """Returns the line after the person's backspaces: without a terminal here, no other program applies them."""
    kept = ""
    for character in line:
        kept = kept[:-1] if character in "\b\x7f" else kept + character
    return kept


def _discard_typed() -> None:
    """Forgets what was typed before a question."""
    _Input.typed = b""
    try:
        posix.set_blocking(0, False)
        while posix.read(0, _MAX_LINE):
            pass
    except OSError:
        pass  # nothing more is there
    try:  # noqa: SIM105 - contextlib is no built-in module
        posix.set_blocking(0, True)
    except OSError:
        pass  # the input is closed


def set_deadline(seconds: float, status: int, text: str) -> None:
    """Ends this process after `seconds` with `status` and `text`, unless another deadline is set before."""

    def too_late(*_: object) -> None:
        write(2, text + "\n" if text else "")
        posix._exit(status)  # noqa: SLF001 - this is os._exit: no other code may run after it

    _signal.signal(_signal.SIGALRM, too_late)
    _signal.setitimer(_signal.ITIMER_REAL, seconds)


def write(file: int, text: str) -> None:
    if _Input.is_raw and not posix.isatty(file):
        text = text.replace("\n", "\r\n")
    try:  # noqa: SIM105 - contextlib is no built-in module
        posix.write(file, text.encode())
    except OSError:  # the person has gone
        pass
