"""Answers the requests of the page about the files of a terminal."""

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sshaft_web import events
from sshaft_web.browsers import check_origin, client_address, terminal_of
from sshaft_web.files import errors
from sshaft_web.files.download import send_file
from sshaft_web.files.errors import FileError
from sshaft_web.files.listing import list_folder
from sshaft_web.files.reading import opened
from sshaft_web.files.requests import number_of, path_of, upload_of
from sshaft_web.files.session import FileSession
from sshaft_web.state import state_of
from sshaft_web.terminals.terminal import State, Terminal


async def list_files(request: Request) -> Response:
    terminal = terminal_of(request)
    with state_of(request).listings.one_of(terminal.owner):
        listing = await list_folder(_files_of(terminal).sftp, path_of(request))
    terminal.used()
    return JSONResponse(listing.as_json())


async def look(request: Request) -> Response:
    """Says whether a file can be downloaded. A link that fails would only show a failed download."""
    terminal = terminal_of(request)
    with state_of(request).listings.one_of(terminal.owner):
        async with opened(_files_of(terminal).sftp, path_of(request)) as file:
            return JSONResponse({"size": file.version.size})


async def download(request: Request) -> Response:
    return _Download(terminal_of(request), path_of(request), request)


class _Download(Response):
    def __init__(self, terminal: Terminal, path: bytes, request: Request) -> None:
        self._terminal = terminal
        self._path = path
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        terminal, request = self._terminal, self._request
        with state_of(request).transfers.one_of(terminal.owner):
            async with opened(_files_of(terminal).sftp, self._path) as file:
                sent = await send_file(file, scope, receive, send, terminal.used)
        if scope["method"] == "GET":
            events.downloaded(terminal, client_address(request), self._path, sent)


async def upload(request: Request) -> Response:
    """Takes one chunk of an upload."""
    check_origin(request)
    terminal, state = terminal_of(request), state_of(request)
    wanted, offset = upload_of(request, state.settings.limits.upload_bytes), number_of(request, "offset")
    with state.transfers.one_of(terminal.owner):
        end, is_complete = await _files_of(terminal).uploads.write(wanted, offset, _body(request, terminal))
    if is_complete:
        events.uploaded(terminal, client_address(request), wanted.target, wanted.total)
    return JSONResponse({"size": end})


async def remove_upload(request: Request) -> Response:
    """Removes what an unfinished upload has written."""
    check_origin(request)
    terminal = terminal_of(request)
    await _files_of(terminal).uploads.remove(upload_of(request, state_of(request).settings.limits.upload_bytes))
    return Response(status_code=204)


async def refused(_request: Request, error: Exception) -> Response:
    """Answers a `FileError`."""
    assert isinstance(error, FileError)  # noqa: S101 - narrows the type of Starlette's signature
    return JSONResponse({"error": error.code, "message": str(error), **error.more}, error.status)


async def _body(request: Request, terminal: Terminal) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        terminal.used()
        yield piece


def _files_of(terminal: Terminal) -> FileSession:
    """Returns the files of an open terminal. Raises `FileError`."""
    if terminal.connection is None or terminal.state is not State.OPEN:
        raise errors.not_open()
    if terminal.files is None:
        terminal.files = FileSession(terminal.connection, terminal.clock)
    return terminal.files


ROUTES = [
    Route("/api/terminals/{id}/files", list_files, methods=["GET"]),
    Route("/api/terminals/{id}/file", look, methods=["GET"]),
    Route("/terminals/{id}/file", download, methods=["GET"]),
    Route("/terminals/{id}/file", upload, methods=["PUT"]),
    Route("/terminals/{id}/file", remove_upload, methods=["DELETE"]),
]
