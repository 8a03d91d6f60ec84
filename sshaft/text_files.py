"""Reads the text that people supply in files, uploads and standard input, whichever program has written it."""

import codecs
from pathlib import Path
from typing import Literal

BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class NotTextError(ValueError):
    """The data is not text. The message says what to do, without any of the data."""

    def __init__(self) -> None:
        super().__init__("not UTF-8 text: save it as UTF-8")


def decode(data: bytes, *, errors: Literal["strict", "replace"] = "strict") -> str:
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


def read(path: Path) -> str:
    """Returns the text of the file. Raises `OSError` or `NotTextError`."""
    return decode(path.read_bytes())
