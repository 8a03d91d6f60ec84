"""Reads, sets and deletes the cookies of the service.
Over https each name has the prefix `__Host-` (RFC 6265bis §4.1.3.2): only this host can set the cookie, over TLS.
Over http to loopback browsers would refuse that prefix, so the names have none.
"""

import re
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from sshaft_identity.web.state import state_of

SESSION, SSH_SIGN_IN, OIDC_SIGN_IN = "sshaft", "sshaft-ssh", "sshaft-oidc"
KNOWN_BROWSER = "sshaft-known"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def read(request: Request, name: str) -> str | None:
    """Returns the value of the cookie; None if there is none, or if it has not the form of our tokens."""
    value = request.cookies.get(_name(request, name), "")
    return value if re.fullmatch(r"[A-Za-z0-9_.-]{16,128}", value) else None


def write(
    request: Request, response: Response, name: str, value: str, seconds: int, same_site: Literal["lax", "strict"]
) -> None:
    response.set_cookie(
        _name(request, name), value, max_age=seconds, path="/", secure=_is_secure(request), httponly=True,
        samesite=same_site,
    )  # fmt: skip


def clear(request: Request, response: Response, name: str) -> None:
    response.delete_cookie(_name(request, name), path="/", secure=_is_secure(request), httponly=True)


def _is_secure(request: Request) -> bool:
    """Whether the cookies are only for TLS: always, except for a service on http and loopback."""
    url = urlsplit(state_of(request).settings.base_url)
    return not (url.scheme == "http" and url.hostname in _LOOPBACK)


def _name(request: Request, name: str) -> str:
    return f"__Host-{name}" if _is_secure(request) else name
