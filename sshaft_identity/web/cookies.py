"""Reads, sets and deletes the cookies of the service."""

from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from sshaft.http_server.cookies import Cookies
from sshaft_identity.web.state import state_of

SESSION, SSH_SIGN_IN, OIDC_SIGN_IN, DESK_PASS = "sshaft", "sshaft-ssh", "sshaft-oidc", "sshaft-desk"
KNOWN_BROWSER = "sshaft-known"
ALIAS = "sshaft-alias"
LANGUAGE = "sshaft-language"
WANTED = "sshaft-wanted"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def read(request: Request, name: str) -> str | None:
    """Returns the value of the cookie; None if there is none, or if it has not the form of our values."""
    return _cookies(request).read(request, name)


def write(
    request: Request, response: Response, name: str, value: str, seconds: int, same_site: Literal["lax", "strict"]
) -> None:
    _cookies(request).write(response, name, value, seconds, same_site)


def clear(request: Request, response: Response, name: str) -> None:
    _cookies(request).clear(response, name)


def _cookies(request: Request) -> Cookies:
    """Returns the cookies for TLS: always, except for a service on http and loopback."""
    url = urlsplit(state_of(request).settings.base_url)
    return Cookies(is_secure=not (url.scheme == "http" and url.hostname in _LOOPBACK))
