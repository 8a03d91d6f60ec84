"""Reads text that people supply, and replaces whole files: a reader sees the old or the new file, never a part."""

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class NotTextError(ValueError):
    """The data is not text. The message says what to do, without any of the data."""

    def __init__(self) -> None:
        super().__init__("not UTF-8 text: save it as UTF-8")


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


def decode_text(data: bytes, *, errors: Literal["strict", "replace"] = "strict") -> str:
    r"""Returns the text without its byte order mark. Each line ends with `\n`.

    Reads UTF-8, and the UTF-16 of Windows PowerShell and Excel. Raises `NotTextError`. With `errors="replace"`, bytes
    that are not UTF-8 become U+FFFD: use it where such bytes can only be in a comment.
    """
    mark = next((mark for mark in BYTE_ORDER_MARKS if data.startswith(mark)), b"")
    try:
        text = data[len(mark) :].decode(BYTE_ORDER_MARKS.get(mark, "utf-8"), errors)
    except UnicodeDecodeError:
        raise NotTextError from None
    if "\0" in text:  # UTF-16 without a mark, or no text at all
        raise NotTextError
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path) -> str:
    """Returns the text of the file. Raises `OSError` or `NotTextError`."""
    return decode_text(path.read_bytes())
