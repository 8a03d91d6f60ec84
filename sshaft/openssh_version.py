"""Finds the version of OpenSSH, because the version decides which settings it knows."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from sshaft.errors import ConfigurationError
from sshaft.text import printable


class Version(NamedTuple):
    """A version. 9.2 is less than 10.0."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


_PLAIN = re.compile(r"\s*(?:.*OpenSSH_)?(\d{1,3})\.(\d{1,3})(?!\d)(?:[p.,\s-].*)?", re.DOTALL)


def parse(text: str) -> Version:
    """Parses `9.2`, `9.8p1` or the output of `sshd -V`. Raises `ConfigurationError`."""
    found = _PLAIN.fullmatch(text)
    if not found:
        raise ConfigurationError(f"{printable(text, 60)!r} is no version of OpenSSH; give one like 9.2 or 9.8p1")
    return Version(int(found[1]), int(found[2]))


def installed(sshd: Path, seconds: float = 10) -> Version:
    """Returns the version of the sshd at this path. Raises `ConfigurationError`, also after `seconds`."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator's sshd
            [sshd, "-V"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=seconds,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "no answer"
        raise ConfigurationError(f"{sshd} -V: {reason}; name sshd by --sshd, or the version by --for") from None
    said = re.search(r"OpenSSH_\S+", done.stderr + done.stdout)
    return parse(said[0] if said else done.stderr.strip())
