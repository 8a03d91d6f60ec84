"""Remembers which page a person wanted to see before the sign-in, in a cookie. It holds a name and never an address."""

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sshaft_identity.web import cookies

_PATHS = {"activity": "/account/activity", "desk": "/desk"}
_PATHS_WITH_ID = {"person": "/desk/people/", "approval": "/approve/"}
_SECONDS = 600


def remember_wanted(request: Request, response: Response) -> None:
    """Lets the next sign-in of this browser lead to the page of this request, if it is a page to come back to."""
    if name := _name_of(request.url.path):
        cookies.write(request, response, cookies.WANTED, name, _SECONDS, "lax")


def wanted(request: Request) -> str | None:
    """Returns the path of the page that this browser wanted, or None."""
    kind, _, identifier = (cookies.read(request, cookies.WANTED) or "").partition(".")
    if kind in _PATHS_WITH_ID and identifier:
        return _PATHS_WITH_ID[kind] + quote(identifier)
    return _PATHS.get(kind)


def _name_of(path: str) -> str | None:
    for name, start in _PATHS_WITH_ID.items():
        if found := re.match(rf"{start}([A-Za-z0-9_-]{{1,64}})(/|$)", path):
            return f"{name}.{found[1]}"
    within = (name for name, start in _PATHS.items() if path == start or path.startswith(f"{start}/"))
    return next(within, None)
