"""Colours single words on a terminal: states, findings and errors. No other module does."""

import os
import sys

_COLOURS = {
    "green": ("ok", "yes", "accepted", "consumed", "active", "signs", "passed"),
    "yellow": ("warning", "pending", "waiting", "presented"),
    "red": ("ERROR", "NO", "fail", "rejected", "denied", "suspended", "CLOSED", "LOCKED", "sshaft:"),
    "cyan": ("note",),
}
_CODES = {"red": 31, "green": 32, "yellow": 33, "cyan": 36}
_CODE_OF = {word: _CODES[colour] for colour, words in _COLOURS.items() for word in words}


def coloured(text: str, *, err: bool = False) -> str:
    """Returns the text in the colour of its first word, if stdout (`err`: stderr) is a terminal that shows colours.

    A first word without a colour leaves the text unchanged. The blanks at the end stay.
    """
    code = _CODE_OF.get((text.split() or [""])[0].rstrip(","))
    if code is None or not _shows_colours(sys.stderr.isatty() if err else sys.stdout.isatty()):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def _shows_colours(is_terminal: bool) -> bool:
    """Whether colours are wanted: see https://no-color.org."""
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
