"""Chooses the part of a file that a request wants (RFC 9110 section 14), and the validators for a later resume."""

import re
from dataclasses import dataclass
from email.utils import formatdate

_SETTLED_SECONDS = 2
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """The size and the modification time (seconds since 1970) of a file when it was opened."""

    size: int
    modified: int | None

    def validators(self, now: float) -> dict[str, str]:
        """Returns `ETag` and `Last-Modified`, or nothing for a file that has just changed.

        SFTP counts whole seconds: a change within the same second would keep both.
        """
        if self.modified is None or self.modified > now - _SETTLED_SECONDS:
            return {}
        return {"ETag": f'"{self.size:x}-{self.modified:x}"', "Last-Modified": formatdate(self.modified, usegmt=True)}


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from `start` to before `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def wanted_part(range_header: str | None, if_range: str | None, size: int, validators: dict[str, str]) -> Part | None:
    """Returns the one part that the header `Range` names. Returns None if the whole file must be sent.

    Several ranges, and a file that is another one by now, ask for the whole file. The part is empty if no byte of the
    file is in the range.
    """
    found = _RANGE.fullmatch(range_header.strip()) if range_header else None
    if found is None or found.groups() == ("", "") or (if_range and if_range.strip() not in validators.values()):
        return None
    first, last = found.groups()
    if not first:
        return Part(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return Part(min(int(first), size), min(int(last) + 1, size) if last else size)
