"""Reads the sources of accounts in the text of nsswitch.conf(5), puts ours behind them, and takes it out again."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sshaft.errors import ConfigurationError

PATH = Path("/etc/nsswitch.conf")
OURS = "sshaft"
_ANY = rb"^[ \t]*%b[ \t]*:([^#\n]*)"
_LINE = re.compile(_ANY % b"passwd", re.MULTILINE)
_OURS = re.compile(rb"(?:[ \t]|(?<=:))sshaft(?:[ \t]*\[[^\]]*\])*(?=[ \t\r]|$)")
_WORD = re.compile(r"\[([^\]]*)\]?|([^\s\[]+)")


@dataclass(frozen=True)
class Source:
    """A source of accounts. `is_end`: libc asks no later source for a name that this one does not know."""

    name: str
    is_end: bool = False


def sources(text: bytes, database: bytes = b"passwd") -> tuple[Source, ...]:
    """Returns the sources of a database in their order. libc takes the last line, and `files` without a line."""
    lines = re.findall(_ANY % database, text, re.MULTILINE)
    return tuple(_sources(lines[-1].decode(errors="replace"))) if lines else (Source("files"),)


def _sources(line: str) -> Iterator[Source]:
    names: list[str] = []
    ends: set[int] = set()
    for actions, name in _WORD.findall(line):
        if name:
            names.append(name)
        elif any(_ends(action) for action in actions.lower().split()):
            ends.add(len(names) - 1)
    return (Source(name, place in ends) for place, name in enumerate(names))


def _ends(action: str) -> bool:
    """Whether `STATUS=ACTION` ends the search for an unknown name."""
    status, _, does = action.partition("=")
    return does == "return" and (status == "notfound" or (status.startswith("!") and status != "!notfound"))


def with_ours(text: bytes) -> bytes:
    """Returns the text with our source behind all others. `text` must not have it. Raises `ConfigurationError`."""
    lines = list(_LINE.finditer(text))
    if len(lines) != 1:
        raise ConfigurationError(f"{PATH} must have one line for passwd, and has {len(lines)}: passwd: files systemd")
    if end := next((source.name for source in sources(text) if source.is_end), None):
        raise ConfigurationError(
            f"{PATH}: the action [...] after {end} ends the search for an unknown name, so libc would never ask "
            f"{OURS}: take it out of the line for passwd"
        )
    at = lines[0].start(1) + len(lines[0][1].rstrip())
    return text[:at] + b" " + OURS.encode() + text[at:]


def without_ours(text: bytes) -> bytes:
    """Returns the text without our source and the actions behind it. They would count for the source before it."""
    return _LINE.sub(lambda line: _OURS.sub(b"", line[0]), text)
