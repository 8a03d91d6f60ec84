"""Writes files with their owner and mode, and keeps a copy of what was there."""

import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sshaft import files
from sshaft.errors import ConfigurationError
from sshaft_setup import places


@dataclass(frozen=True)
class Owner:
    uid: int
    gid: int

    @classmethod
    def of_account(cls, name: str) -> "Owner":
        """Returns the owner for a file of an account. Raises `ConfigurationError` if there is no such account."""
        found = places.account(name)
        return cls(found.pw_uid, found.pw_gid)


ROOT = Owner(0, 0)


def as_json(members: Mapping[str, Any]) -> bytes:
    """Returns the content of a file."""
    return (json.dumps(members, indent=2, ensure_ascii=False) + "\n").encode()


def write(path: Path, data: bytes, mode: int, owner: Owner, backups: Path) -> Path | None:
    """Replaces the file, and returns the copy of the old one, if there was one. Raises `ConfigurationError`.

    A symbolic link is refused: somebody keeps the file elsewhere.

    An old file that belongs to another account than root keeps its owner, and its mode without the rights of others.
    """
    if path.is_symlink():
        raise ConfigurationError(f"{path} is a symbolic link: change {path.resolve()} by hand, or put a file there")
    try:
        copy = _keep(path, backups)
        if copy is not None and path.stat().st_uid != 0:
            found = path.stat()
            owner, mode = Owner(found.st_uid, found.st_gid), stat.S_IMODE(found.st_mode) & ~0o007
        make_folder(path.parent, 0o755, ROOT)
        with files.replacing(path, mode) as file:
            os.fchown(file.fileno(), owner.uid, owner.gid)
            file.write(data)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    return copy


def make_folder(path: Path, mode: int, owner: Owner) -> None:
    """Makes the folder if it is missing. One that is there stays as it is. Raises `OSError`."""
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True)
        os.chown(path, owner.uid, owner.gid)
        path.chmod(mode)


def _keep(path: Path, backups: Path) -> Path | None:
    """Copies the file for root alone, under its name and the time."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    make_folder(backups, 0o700, ROOT)
    copy = backups / f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    files.replace(copy, data, 0o600)
    return copy


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yields a folder that only this account can enter, for the block."""
    with tempfile.TemporaryDirectory(prefix="sshaft-setup-") as name:
        yield Path(name)
