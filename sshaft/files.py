"""Replaces whole files: a reader sees the old file or the new file, never a part of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path, mode: int = 0o600, *, keep_owner: bool = False) -> Iterator[IO[bytes]]:
    """Opens a new file beside `path`. At the end of the block it is on the disk and takes the place of `path`.

    The new file has `mode`, whatever the umask is, and the owner and group of this process: a file that a stranger has
    put there must not give the new data to the stranger. `keep_owner` keeps the owner and group of the old file.
    A symbolic link is replaced and not followed. If the block raises, `path` stays as it is. Raises `OSError`.
    """
    owner = path.stat() if keep_owner and path.exists() else None
    beside = path.parent / f"{path.name}.new"
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            if owner is not None:
                os.fchown(handle, owner.st_uid, owner.st_gid)
            os.fchmod(handle, mode)
            yield file
            file.flush()
            os.fsync(handle)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def replace(path: Path, data: bytes, mode: int = 0o600, *, keep_owner: bool = False) -> None:
    """Writes `data` as the new file at `path`, as `replacing` does."""
    with replacing(path, mode, keep_owner=keep_owner) as file:
        file.write(data)
