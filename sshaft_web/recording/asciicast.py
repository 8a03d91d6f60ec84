"""Writes one terminal as an asciicast v2 file: a line of JSON about the terminal, then one line for each event."""

import codecs
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CLOSED = -1

Kind = Literal["o", "i", "r"]
"""What a line of the file holds: output, input, or a new size."""
Event = tuple[float, Kind, bytes]
"""Seconds since the beginning, the kind, and the bytes of the terminal."""


@dataclass(frozen=True)
class Header:
    """The first line of a file. `timestamp` counts seconds since 1970."""

    columns: int
    rows: int
    timestamp: int
    title: str
    term: str = "xterm-256color"

    def as_json(self) -> dict[str, Any]:
        return {
            "version": 2, "width": self.columns, "height": self.rows, "timestamp": self.timestamp,
            "title": self.title, "env": {"TERM": self.term},
        }  # fmt: skip


class AsciicastFile:
    """A new file that is open for writing, for its owner alone. One thread at a time may use it.

    All methods but `abandon` raise `OSError`. The file has whole lines only, also after a failure.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._descriptor = os.open(path, _FLAGS, 0o600)
        self._whole = 0
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {kind: decoder("replace") for kind in ("o", "i", "r")}
        try:
            os.fchmod(self._descriptor, 0o600)  # whatever the umask is
            self._append([header.as_json()])
        except OSError:
            self.abandon()
            path.unlink(missing_ok=True)
            raise

    def write(self, events: Iterable[Event]) -> None:
        """Writes events. A character of UTF-8 that is not whole waits for its rest."""
        decoded = ((at, kind, self._decoders[kind].decode(data)) for at, kind, data in events)
        self._append([round(at, 6), kind, text] for at, kind, text in decoded if text)

    def close(self) -> None:
        """Puts the file on the disk, and closes it."""
        os.fsync(self._descriptor)
        descriptor, self._descriptor = self._descriptor, _CLOSED
        os.close(descriptor)

    def abandon(self) -> None:
        """Closes the file as it is. No failure matters any more."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor == _CLOSED:  # the number may belong to another file by now
            return
        with suppress(OSError):
            os.ftruncate(descriptor, self._whole)
        with suppress(OSError):
            os.close(descriptor)

    def _append(self, values: Iterable[Any]) -> None:
        # JSON in ASCII: no control character of the terminal reaches the screen of a person who reads the file.
        data = "".join(f"{json.dumps(value)}\n" for value in values).encode("ascii")
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._whole += len(data)
