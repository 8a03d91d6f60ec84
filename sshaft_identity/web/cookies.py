"""Our cookies. Over https each has the prefix `__Host-` (RFC 6265bis §4.1.3.2): set by this very host, over TLS, for no
other. Only over plain http to loopback, where a browser would refuse that, they go without.
"""

import re
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from sshaft_identity.web.state import state_of

SESSION, SSH_SIGN_IN, OIDC_SIGN_IN = "sshaft", "sshaft-ssh", "sshaft-oidc"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def read(request: Request, name: str) -> str | None:
    """A value that we may have set: of the alphabet of our tokens, or None."""
    value = request.cookies.get(_name(request, name), "")
    return value if re.fullmatch(r"[A-Za-z0-9_.-]{16,128}", value) else None


def write(
    request: Request, response: Response, name: str, value: str, seconds: int, same_site: Literal["lax", "strict"]
) -> None:
    response.set_cookie(
        _name(request, name), value, max_age=seconds, path="/", secure=_secure(request), httponly=True,
        samesite=same_site,
    )  # fmt: skip


def clear(request: Request, response: Response, name: str) -> None:
    response.delete_cookie(_name(request, name), path="/", secure=_secure(request), httponly=True)


def _secure(request: Request) -> bool:
    """Anything but http to loopback: elsewhere a browser keeps no such cookie over http, and nobody is signed in."""
    url = urlsplit(state_of(request).settings.base_url)
    return not (url.scheme == "http" and url.hostname in _LOOPBACK)


def _name(request: Request, name: str) -> str:
    return f"__Host-{name}" if _secure(request) else name
