"""Serves the scripts and styles of the pages from memory. Addresses hold a hash, so browsers keep files for ever."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from sshaft.errors import ConfigurationError

DIRECTORY = Path(__file__).parent / "static"
TERMINAL = "vendor/xterm.mjs"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript", ".txt": "text/plain"}
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    compressed: bytes
    media_type: str

    @classmethod
    def read(cls, path: Path) -> "_File":
        content = path.read_bytes()
        return cls(content, gzip.compress(content, mtime=0), _TYPES[path.suffix])


def check(directory: Path = DIRECTORY) -> None:
    """Raises `ConfigurationError` if the terminal's own files are missing."""
    if not (directory / TERMINAL).exists():
        raise ConfigurationError(
            f"{directory / TERMINAL} is missing: sshaft's wheel brings it; in a checkout run tools/xterm"
        )


class StaticFiles:
    """The files below `directory`, read once. Raises `ConfigurationError` if the terminal's own files are missing."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        check(directory)
        paths = sorted(path for path in directory.rglob("*") if path.suffix in _TYPES)
        self._files = {path.relative_to(directory).as_posix(): _File.read(path) for path in paths}
        digest = hashlib.sha256()
        for name, file in self._files.items():
            digest.update(f"{name}\0{len(file.content)}\0".encode() + file.content)
        self._root = f"/static/{digest.hexdigest()[:16]}/"

    def url(self, name: str) -> str:
        """Returns the address of a file. Modules find one another beside it."""
        if name not in self._files:
            raise KeyError(name)
        return self._root + name

    async def answer(self, request: Request) -> Response:
        """Answers GET of an address below /static/. An address of another version is unknown."""
        path = request.url.path
        file = self._files.get(path.removeprefix(self._root)) if path.startswith(self._root) else None
        if file is None:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers = {**_HEADERS, "Content-Encoding": "gzip"}
            return Response(file.compressed, headers=headers, media_type=file.media_type)
        return Response(file.content, headers=_HEADERS, media_type=file.media_type)
