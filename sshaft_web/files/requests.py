"""Reads what a request about files asks for from its URL. Every value is checked once, here."""

import re
from urllib.parse import unquote

from starlette.requests import Request

from sshaft_web.files import errors, names
from sshaft_web.files.upload import Upload

_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_RELOAD = "Reload the page and try again."


def path_of(request: Request) -> bytes:
    """Returns the path on the host, which may be empty. Raises `FileError`."""
    path = names.unquoted(_raw(request, "path"))
    if path is None:
        raise errors.bad_request("No file can have this path. Choose another one.")
    return path


def number_of(request: Request, name: str) -> int:
    """Returns a number that is not negative. Raises `FileError`."""
    text = _raw(request, name)
    if _NUMBER.fullmatch(text) is None:
        raise errors.bad_request(f"The number {name} is missing. {_RELOAD}")
    return int(text)


def upload_of(request: Request, limit: int) -> Upload:
    """Returns the upload of which the request sends a chunk. Raises `FileError`, also for more than `limit` bytes."""
    folder, slash, name = path_of(request).rpartition(b"/")
    number = unquote(_raw(request, "upload"))
    if not slash or (folder and not folder.startswith(b"/")) or not names.is_upload(number):
        raise errors.bad_request(f"The upload has no absolute path or no number. {_RELOAD}")
    if not names.is_uploadable(name):
        raise errors.bad_name(name)
    total = number_of(request, "total")
    if total > limit:
        raise errors.too_large(limit)
    return Upload(folder or b"/", name, number, total, _raw(request, "replace") == "1")


def _raw(request: Request, name: str) -> str:
    """Returns the value of a parameter as it is in the URL, or an empty text. A parameter that is there twice is none.

    Starlette would decode it as UTF-8, and names on a host need not be UTF-8.
    """
    query = request.scope["query_string"].decode("latin-1")
    pairs = [part.partition("=") for part in query.split("&")]
    values = [value for key, _, value in pairs if key == name]
    return values[0] if len(values) == 1 else ""
