"""Checks where the challenge page may lead people back to: addresses that the operator has registered for the client.

A hostile client must not make our page lead people elsewhere, and no such address may be a script.
"""

import re
from collections.abc import Collection
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from sshaft_identity.common.addresses import origin_of

_MAX_LENGTH = 2048
# RFC 3986 §2, and nothing else: no blanks, no control characters, and no backslash, which browsers read as a slash
_ADDRESS = r"^https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+$"
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MAX_ENCODINGS = 4


def checked(url: str) -> str:
    """Returns the address. Raises `ValueError` with a sentence that says what the address must be."""
    if len(url) > _MAX_LENGTH or not re.fullmatch(_ADDRESS, url):
        raise ValueError(f"must be an https address of at most {_MAX_LENGTH} plain characters")
    parts = urlsplit(url)  # raises ValueError for an odd host
    if not _HOST.fullmatch(parts.hostname or "") or parts.port == 0:
        raise ValueError("names no host")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a password")
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise ValueError("must be https; http only to loopback")
    if _goes_up(parts.path):
        raise ValueError("must not go up in its path")  # it would lead to an address that is not registered
    return url


def _goes_up(path: str) -> bool:
    """Whether a browser, a proxy or a server may read `.` or `..` as a segment of the path.

    Browsers decode `%2e`. Proxies and servers also decode `%2f` and `%5c`, more than once, and drop `;parameters`.
    """
    for _ in range(_MAX_ENCODINGS):
        segments = re.split(r"[/\\]", re.sub(r"[\x00-\x20]", "", path))
        if any(segment.partition(";")[0] in (".", "..") for segment in segments):
            return True
        if path == (path := unquote(path)):
            return False
    return True  # nobody encodes a path so often without a purpose


def checked_prefix(url: str) -> str:
    """Returns the prefix: a host and the beginning of a path. Raises `ValueError` as `checked` does."""
    if "?" in checked(url) or "#" in url:
        raise ValueError("must end with its path")
    return url


ReturnUrl = Annotated[str, Field(max_length=_MAX_LENGTH, pattern=_ADDRESS), AfterValidator(checked)]


def allows(registered: Collection[str], url: str) -> bool:
    """Whether `url` is at, or below, one of the registered addresses. Both were `checked`."""
    return any(_is_below(prefix, url) for prefix in registered)


def _is_below(prefix: str, url: str) -> bool:
    """Whether the prefix covers the address, by whole path segments: `/app` covers `/app/login`, not `/apples`."""
    path, beginning = urlsplit(url).path or "/", urlsplit(prefix).path.rstrip("/")
    return origin_of(prefix) == origin_of(url) and (path == beginning or path.startswith(beginning + "/"))
