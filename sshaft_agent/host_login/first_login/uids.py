"""Finds the uid that a person has on every host: in the claims, or in a file that the hosts share."""

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sshaft import config, log
from sshaft.errors import ConfigurationError
from sshaft_agent.host_login.claims import claim, number, shown, shown_name
from sshaft_agent.host_login.first_login import free
from sshaft_agent.host_login.first_login.accounts_client import AccountsError
from sshaft_agent.host_login.first_login.settings import CreateSettings, UidOfClaim

_MAX_FILE = 16 * 1024 * 1024


def claimed_uid(settings: CreateSettings, claims: Mapping[str, Any]) -> int:
    """Returns the uid that the provider says. Raises `AccountsError` for a uid that no new account may have.

    A uid between `uid_first` and `uid_last` is one that sshd may have for a stranger at this moment.
    """
    assert isinstance(settings.uid, UidOfClaim)  # noqa: S101 - the caller's case
    found = claim(claims, settings.uid.claim)
    uid, said = number(found), f"create.uid: {shown_name(settings.uid.claim)} is {shown(found)}"
    if uid is None:
        raise AccountsError(f"{said}, which is no uid")
    if not 0 <= uid < 2**31 or free.overlap(uid, uid) is not None:
        raise AccountsError(f"{said}, which is a uid of the system")
    if settings.uid_first <= uid <= settings.uid_last:
        raise AccountsError(f"{said}, which is between create.uid_first and uid_last. sshd needs these for a moment")
    return uid


class UidFiles:
    """Reads the file of `create.uid`, again after each change. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: tuple[object, ...] = ()
        self._uids: Mapping[str, int] = {}

    def uid_of(self, file: Path, name: str) -> int | None:
        """Returns the uid of a name. None: it has none there, or the file cannot be used, which is logged once."""
        with self._lock:
            state = _state(file)
            if state != self._state:
                self._state, self._uids = state, _read(file)
            return self._uids.get(name)


def _state(file: Path) -> tuple[object, ...]:
    """Returns what differs after each change of the file, also of its owner and its mode."""
    try:
        found = file.stat()
    except OSError as error:
        return file, error.errno
    return file, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(file: Path) -> Mapping[str, int]:
    try:
        text, _status = config.read_trusted_file(file, _MAX_FILE)
        return uids(config.parse_object(file, text))
    except (ConfigurationError, ValueError) as error:
        log.get_logger().error("host_name.no_uids", message=f"create.uid: {error}", effect="no uid is reserved")
        return {}


def uids(members: Mapping[str, Any]) -> Mapping[str, int]:
    """Returns the uid of each name. Raises `ValueError` if a value is no number, or two names have the same one."""
    wrong = next((name for name, value in members.items() if type(value) is not int), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} has no number in the file")
    twice = next((uid for uid, count in Counter(members.values()).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"two names have the uid {twice} in the file")
    return members
