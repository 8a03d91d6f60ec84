"""Remembers which page a person wanted to see before the sign-in, in a cookie. It holds a name and never an address."""

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sshaft_identity.web import cookies

_PATHS = {"activity": "/account/activity", "desk": "/desk"}
_PERSON = "/desk/people/"
_SECONDS = 600


def remember_wanted(request: Request, response: Response) -> None:
    """Lets the next sign-in of this browser lead to the page of this request, if it is a page to come back to."""
    if name := _name_of(request.url.path):
        cookies.write(request, response, cookies.WANTED, name, _SECONDS, "lax")


def wanted(request: Request) -> str | None:
    """Returns the path of the page that this browser wanted, or None."""
    kind, _, person = (cookies.read(request, cookies.WANTED) or "").partition(".")
    return f"{_PERSON}{quote(person)}" if kind == "person" and person else _PATHS.get(kind)


def _name_of(path: str) -> str | None:
    person = re.match(rf"{_PERSON}([A-Za-z0-9_-]{{1,64}})(/|$)", path)
    if person:
        return f"person.{person[1]}"
    within = (name for name, start in _PATHS.items() if path == start or path.startswith(f"{start}/"))
    return next(within, None)
