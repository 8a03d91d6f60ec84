"""Remembers which browsers have passed a login here, by a cookie that names nobody.

Such a browser has a count of its own at the throttles. So a stranger behind the same address cannot use up its share.
"""

import hmac
import secrets
from datetime import timedelta
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from sshaft.addresses import source_of
from sshaft_identity.common.language import N_, Filled
from sshaft_identity.web import cookies
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.html import PageError
from sshaft_identity.web.state import state_of

_LIFETIME = timedelta(days=90)
_TOO_MANY = {
    "logins": (
        N_("Too many logins"),
        N_("Too many logins that began in this browser are not finished. Try again in {seconds} seconds."),
        N_("Too many logins that began at your network address are not finished. Try again in {seconds} seconds."),
    ),
    "sign-ins": (
        N_("Too many sign-ins"),
        N_("Too many sign-ins that began in this browser are not finished. Try again in {seconds} seconds."),
        N_("Too many sign-ins that began at your network address are not finished. Try again in {seconds} seconds."),
    ),
}
"""For what is counted: the heading, the sentence for a known browser, and the sentence for a network address."""


def source_of_request(request: Request) -> str:
    """Returns the source that is counted for this request: the known browser, or else the network address."""
    known = _known(request)
    return f"browser {known}" if known else source_of(client_address(request) or "")


def remember(request: Request, response: Response) -> None:
    """Marks the browser of a login that has passed. A browser that is known already keeps its mark."""
    if _known(request):
        return
    expires = state_of(request).clock() + _LIFETIME
    mark = f"{secrets.token_hex(8)}.{int(expires.timestamp())}"
    value = f"{mark}.{_signature(request, mark)}"
    cookies.write(request, response, cookies.KNOWN_BROWSER, value, int(_LIFETIME.total_seconds()), "lax")


def too_many(request: Request, what: Literal["logins", "sign-ins"], seconds: int) -> PageError:
    """Returns the page for a source that has too many of them open."""
    title, in_browser, at_address = _TOO_MANY[what]
    return PageError(429, title, Filled(in_browser if _known(request) else at_address, seconds=seconds))


def _known(request: Request) -> str | None:
    """Returns the random name of a known browser; None if the mark is missing, forged or expired."""
    mark, _, signature = (cookies.read(request, cookies.KNOWN_BROWSER) or "").rpartition(".")
    name, _, expires = mark.partition(".")
    if not hmac.compare_digest(signature, _signature(request, mark)):
        return None
    return name if state_of(request).clock().timestamp() < int(expires) else None


def _signature(request: Request, mark: str) -> str:
    key = state_of(request).store.codes.key
    return hmac.digest(key, f"known browser\0{mark}".encode(), "sha256").hex()
