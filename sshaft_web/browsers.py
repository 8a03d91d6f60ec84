"""Reads from a request: its session, its address, whether one of our pages has sent it, and its JSON body."""

from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from sshaft.http_server.cookies import Cookies
from sshaft.validation import first_fault
from sshaft_web.people.sessions import Session
from sshaft_web.state import state_of
from sshaft_web.terminals.terminal import Terminal

SESSION, SIGN_IN = "sshaft-web", "sshaft-web-sign-in"
_MAX_BODY = 16 * 1024
_MOVED = "moved"
"""The parameter of an address to which a browser was sent because it used another one."""


class RefusedError(Exception):
    """Ends a request with a status, one word for programs, and a sentence for people."""

    def __init__(self, status: int, code: str, message: str, title: str = "That did not work") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.title = title

    def as_json(self) -> Response:
        return JSONResponse({"error": self.code, "message": str(self)}, self.status)


class Message(BaseModel):
    """A JSON body."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


Columns = Annotated[int, Field(ge=2, le=1000)]
Rows = Annotated[int, Field(ge=1, le=1000)]
AMessage = TypeVar("AMessage", bound=Message)


def cookies_of(request: HTTPConnection) -> Cookies:
    return Cookies(is_secure=state_of(request).settings.is_secure)


def to_public_url(request: Request, path: str) -> Response | None:
    """Returns a redirect to this page at `public_url`, if the browser uses another address. Else None.

    A page works at `public_url` alone: cookies, scripts and WebSockets are bound to it. A proxy that changes `Host`
    makes each address look like another one. So a browser is sent on once, and then gets the page.
    """
    public_url = state_of(request).settings.public_url
    is_there = request.headers.get("host", "").lower() == urlsplit(public_url).netloc
    if is_there is (_MOVED not in request.query_params):
        return None
    return RedirectResponse(public_url + path + ("" if is_there else f"?{_MOVED}"), 302)


def session_or_none(request: HTTPConnection) -> Session | None:
    """Returns the session of the browser, if a person has signed in there."""
    return state_of(request).sessions.of(cookies_of(request).read(request, SESSION))


def session_of(request: HTTPConnection) -> Session:
    """Returns the session of the browser. Raises `RefusedError`: nobody has signed in there."""
    session = session_or_none(request)
    if session is None:
        raise RefusedError(401, "signed_out", "You are signed out. Sign in again.")
    return session


def terminal_of(request: HTTPConnection) -> Terminal:
    """Returns the terminal that the path names. Raises `RefusedError`: this person has no such terminal."""
    terminal = state_of(request).terminals.find(session_of(request).person, request.path_params["id"])
    if terminal is None:
        raise RefusedError(404, "no_such_terminal", "There is no such terminal. It may have ended.")
    return terminal


def client_address(request: HTTPConnection) -> str:
    """Returns the address of the browser, which only trusted proxies can name in its place."""
    return request.client.host if request.client else ""


def is_own_origin(request: HTTPConnection) -> bool:
    """Whether one of our pages has sent the request. Browsers name the origin, and no page can forge it."""
    return request.headers.getlist("origin") == [state_of(request).settings.public_url]


def check_origin(request: HTTPConnection) -> None:
    """Raises `RefusedError` unless one of our pages has sent the request."""
    if not is_own_origin(request):
        raise RefusedError(403, "foreign_origin", "This was not sent by a page of this service. Nothing was done.")


async def body_of(request: Request, most: int = _MAX_BODY) -> bytes:
    """Returns the whole body. Raises `RefusedError` if it is larger than `most` bytes."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise RefusedError(413, "too_large", "The request is too large.")
    return body


async def json_of(request: Request, kind: type[AMessage]) -> AMessage:
    """Returns the message that one of our pages has sent. Raises `RefusedError`."""
    check_origin(request)
    try:
        return kind.model_validate_json(await body_of(request))
    except ValidationError as error:
        raise RefusedError(400, "invalid_request", first_fault(error)) from None
