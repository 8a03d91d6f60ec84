"""Reads the paths of files from URLs, and writes their names for people, for URLs and for HTTP headers.

A path is bytes, as on the host. A URL holds it percent-encoded, so that a name need not be UTF-8.
"""

import re
import unicodedata
from urllib.parse import quote, unquote_to_bytes

from sshaft.text import printable

MAX_NAME_BYTES = 255
"""What Linux allows, and what may be uploaded."""
MAX_PATH_BYTES = 4096
_MAX_FOREIGN_NAME_BYTES = 1024
"""Other systems count 255 characters."""
_MAX_SHOWN = 2000
_REORDERING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
_PART = ".sshaft-part"
_UPLOAD = re.compile(r"[0-9a-f]{32}")
_IN_QUOTES = re.compile(r"[^A-Za-z0-9 !#$&'()+,.;=@\[\]^_`{}~-]")


def shown(name: bytes) -> str:
    r"""Returns a name as one line that is safe to show. A byte that is not UTF-8 becomes an escape such as `\udcff`."""
    return printable(name.decode("utf-8", "surrogateescape"), _MAX_SHOWN)


def quoted(path: bytes) -> str:
    """Returns a path or a name for the query of a URL."""
    return quote(path, safe="/")


def unquoted(text: str) -> bytes | None:
    """Returns the path in the query of a URL. Returns None if no file can have it. `+` stands for itself."""
    path = unquote_to_bytes(text)
    return None if b"\0" in path or len(path) > MAX_PATH_BYTES else path


def is_foreign_name(name: bytes) -> bool:
    """Whether a name that a host lists can be the name of a file in that folder."""
    return 0 < len(name) <= _MAX_FOREIGN_NAME_BYTES and name not in (b".", b"..") and not set(name) & {0, 0x2F}


def is_uploadable(name: bytes) -> bool:
    """Whether a file of this name may be made: UTF-8, without characters that control a terminal or reorder text."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return False
    return is_foreign_name(name) and len(name) <= MAX_NAME_BYTES and not any(map(_is_control, text))


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(character) in _REORDERING


def joined(folder: bytes, name: bytes) -> bytes:
    return folder.rstrip(b"/") + b"/" + name


def is_upload(text: str) -> bool:
    """Whether the text can name an upload: 128 random bits."""
    return _UPLOAD.fullmatch(text) is not None


def part_name(name: bytes, upload: str) -> bytes:
    """Returns the name under which an upload grows, beside its target. Nobody can foresee the name."""
    end = f".{upload}{_PART}"
    start = name[: MAX_NAME_BYTES - len(end) - 1].decode(errors="ignore")
    return f".{start}{end}".encode()


def content_disposition(name: bytes) -> str:
    """Returns the header with which a browser saves a file under this name (RFC 6266).

    Characters that are not shown, or reorder text, become `_`: the browser must save what the person has read.
    """
    text = "".join(_savable(character) for character in name.decode("utf-8", "replace")) or "_"
    return f"attachment; filename=\"{_IN_QUOTES.sub('_', text)}\"; filename*=UTF-8''{quote(text, safe='')}"


def _savable(character: str) -> str:
    return "_" if character in "/\\\ufffd" or printable(character) != character else character
