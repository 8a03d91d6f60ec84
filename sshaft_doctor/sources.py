"""Reads the lines of sshd_config and its includes in sshd's order, to find the line that an operator must change.

`effective` asks sshd which settings are in force.
"""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sshaft.errors import ConfigurationError

_MAX_DEPTH = 16  # servconf.c
MAX_FILE = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """A setting. `keyword` is in lower case; `match` has the criteria of the Match block, or is empty."""

    path: Path
    number: int
    keyword: str
    value: str
    match: str = ""

    @property
    def place(self) -> str:
        return f"{self.path}:{self.number}"


def read(path: Path) -> list[Line]:
    """Returns all settings of a file and its includes. Raises `ConfigurationError` for an unreadable file."""
    return list(_read(path, "", _MAX_DEPTH))


def files(path: Path, lines: list[Line]) -> list[Path]:
    """Returns the file and its includes, if they have a setting."""
    return list(dict.fromkeys([path, *(line.path for line in lines)]))


def _read(path: Path, match: str, depth: int) -> Iterator[Line]:
    try:
        if path.is_fifo():  # reading it would wait for ever, in sshd too
            raise ConfigurationError(f"{path}: can't be read: it is a pipe")
        with path.open("rb") as file:
            text = file.read(MAX_FILE).decode(errors="replace")
    except OSError as failure:
        raise ConfigurationError(f"{path}: can't be read: {failure.strerror}") from None
    for number, raw in enumerate(text.split("\n"), 1):
        keyword, value = _split(raw)
        if keyword == "match":
            match = value
        if keyword == "include":
            for pattern in value.split() if depth else ():
                for included in sorted(glob.glob(str(Path("/etc/ssh") / pattern.strip('"')))):  # noqa: PTH207 - absolute
                    yield from _read(Path(included), match, depth - 1)
        elif keyword:
            yield Line(path, number, keyword, value, "" if keyword == "match" else match)


def _split(raw: str) -> tuple[str, str]:
    """Splits `Keyword value` and `Keyword=value`, without a comment behind a blank."""
    text = raw.strip()
    if not text or text.startswith("#"):
        return "", ""
    end = next((i for i, c in enumerate(text) if c in " \t="), len(text))
    value = text[end:].lstrip(" \t").removeprefix("=").strip()
    quoted = False
    for i, character in enumerate(value):
        if character == '"':
            quoted = not quoted
        elif character == "#" and not quoted and (i == 0 or value[i - 1] in " \t"):
            value = value[:i].rstrip()
            break
    return text[:end].lower(), value
