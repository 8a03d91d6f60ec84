"""Lets a command that root runs act as the owner of the service's directory.

The service's account can change every file in the directory: it can put a symbolic link there, or name another file in
`identity.json`. So root must open none of them.
"""

import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sshaft import files
from sshaft.errors import ConfigurationError

_FILES = ("identity.json", "hmac.key", "identity.db")


@contextmanager
def acting_as_owner(directory: Path) -> Iterator[None]:
    """Gives this process the rights of the owner of the directory within the block, if root runs it.

    Raises `ConfigurationError` if the directory belongs to root, and others can change it or own a file in it.
    """
    owner = _owner_of(directory)
    if owner is None:
        yield
        return
    with _rights_of(*owner, groups=()):
        yield


@contextmanager
def acting_as_caller() -> Iterator[None]:
    """Gives root's rights back within the block, if root runs this process: for a file that root has named."""
    if os.getuid() != 0 or os.geteuid() == 0:
        yield
        return
    with _rights_of(0, os.getgid(), groups=()):
        yield


def become_owner(directory: Path) -> None:
    """Makes this process one of the owner of the directory, for good, if root runs it. Raises as `acting_as_owner`."""
    owner = _owner_of(directory)
    if owner is not None:
        uid, gid = owner
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


@contextmanager
def replacing_as_caller(path: Path) -> Iterator[IO[bytes]]:
    """Replaces a file as `files.replacing` does, as the caller. The block itself keeps its present rights."""
    replacing = files.replacing(path)
    with acting_as_caller():
        file = replacing.__enter__()
    try:
        yield file
    except BaseException as error:
        with acting_as_caller():
            replacing.__exit__(type(error), error, error.__traceback__)
        raise
    with acting_as_caller():
        replacing.__exit__(None, None, None)


def _owner_of(directory: Path) -> tuple[int, int] | None:
    """Returns uid and gid of the account to act as; None: the process stays what it is."""
    if os.geteuid() != 0 or not directory.is_dir():
        return None
    found = directory.stat()
    if found.st_uid != 0:
        return found.st_uid, _gid_of(found)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            f"{directory} belongs to root and others can change it: chown it to the account of the service, "
            "or take their right to write away (chmod go-w)"
        )
    paths = (directory / name for name in _FILES)
    foreign = [path.name for path in paths if os.path.lexists(path) and path.lstat().st_uid != 0]
    if foreign:
        raise ConfigurationError(
            f"{directory} belongs to root, and {foreign[0]} in it does not: chown both to the account of the service"
        )
    return None


def _gid_of(found: os.stat_result) -> int:
    try:
        return pwd.getpwuid(found.st_uid).pw_gid
    except KeyError:  # an account of another host, as in a container's volume
        return found.st_gid


@contextmanager
def _rights_of(uid: int, gid: int, *, groups: Sequence[int]) -> Iterator[None]:
    """Changes the effective uid, gid and groups within the block. The real uid stays root's, so it can change back."""
    before = os.geteuid(), os.getegid(), os.getgroups()
    _change(uid, gid, groups)
    try:
        yield
    finally:
        _change(*before)


def _change(uid: int, gid: int, groups: Sequence[int]) -> None:
    os.seteuid(0)  # only root may change the groups
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
