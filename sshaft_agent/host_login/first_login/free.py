"""Knows which names and uids of this host are free for a new account. What means somebody else is never handed out."""

import grp
import pwd
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

RESERVED = (
    range(1000),
    range(60001, 60514),
    range(61184, 65520),
    range(65534, 65536),
    range(524288, 1879048192),
    range(2**31, 2**32),
)
"""The system, systemd-homed, DynamicUser, nobody, containers, and numbers that some programs take as negative."""
_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))


K = TypeVar("K")
V = TypeVar("V")


def overlap(first: int, last: int) -> range | None:
    """Returns the first of `RESERVED` that has a uid between `first` and `last`, or None."""
    return next((each for each in RESERVED if first < each.stop and each.start <= last), None)


def is_free_uid(uid: int, name: str, files: Sequence[Path] = _SUBORDINATE) -> bool:
    """Whether no account, no range of subordinate ids (subuid(5)) and no other group than `name` has this number.

    Asks every source that the host uses (nsswitch.conf), so it may block.
    """
    if any(uid in each for each in RESERVED) or any(uid in each for file in files for each in _subordinate(file)):
        return False
    group = _found(grp.getgrgid, uid)
    return _found(pwd.getpwuid, uid) is None and (group is None or group.gr_name == name)


def is_free_name(name: str, uid: int | None) -> bool:
    """Whether no account has this name, and no group but that of `uid`: work of `sshaft-accounts` that was interrupted.

    It may block.
    """
    group = _found(grp.getgrnam, name)
    return not is_account(name) and (group is None or group.gr_gid == uid)


def is_account(name: str) -> bool:
    """Whether an account has this name, also one of the system. It may block."""
    return _found(pwd.getpwnam, name) is not None


def _found(look_up: Callable[[K], V], key: K) -> V | None:
    try:
        return look_up(key)
    except KeyError:
        return None


def _subordinate(file: Path) -> Iterator[range]:
    """Yields the ranges of a file. Each line is NAME:FIRST:COUNT; other lines count for nothing, as in newuidmap."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        _, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if first.isascii() and first.isdigit() and count.isascii() and count.isdigit():
            yield range(int(first), int(first) + int(count))
