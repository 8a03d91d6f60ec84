"""Knows whether the sshd of this host shows text at once, so that a person needs no Enter after the approval."""

import os
import re
import threading
from pathlib import Path

from sshaft import log, openssh_version
from sshaft.errors import ConfigurationError
from sshaft.openssh_version import Version

SSHD = Path("/usr/sbin/sshd")
_SHOWS_TEXT_AT_ONCE = Version(10, 3)
"""Older ones keep a text until they have a prompt for it."""
_SERVICE = re.compile(r"sshd(?:[-_.].*)?")
"""sshd's PAM service: `sshd`, or one of PAMServiceName such as `sshd-home`."""


class Sshd:
    """The sshd at this path. It is asked for its version once, and again when the file has changed."""

    def __init__(self, path: Path = SSHD, seconds: float = 3.0) -> None:
        """`seconds` is the time that sshd has for its answer."""
        self._path = path
        self._seconds = seconds
        self._lock = threading.Lock()
        self._asked: tuple[tuple[int, ...], Version | None] | None = None

    def shows_text_at_once(self, service: str) -> bool:
        """Whether a login of this PAM service shows text without a prompt. Unknown is no. It blocks."""
        if not _SERVICE.fullmatch(service):
            return False
        with self._lock:
            version = self._version()
        return version is not None and version >= _SHOWS_TEXT_AT_ONCE

    def _version(self) -> Version | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - one call for all facts
        except OSError:
            return None
        file = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        if self._asked is None or self._asked[0] != file:
            self._asked = file, self._ask()
        return self._asked[1]

    def _ask(self) -> Version | None:
        try:
            return openssh_version.installed(self._path, self._seconds)
        except ConfigurationError as error:
            log.get_logger().warning("sshd.version_unknown", message=str(error))
            return None
