"""What a request tells of the browser behind it: address, name, form, and whether a page of ours sent it."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from sshaft_identity.common.addresses import believed, origin_of
from sshaft_identity.common.fields import one_line
from sshaft_identity.web.call import body_of
from sshaft_identity.web.html import PageError
from sshaft_identity.web.state import state_of

MAX_FIELDS = 16
FORM = "application/x-www-form-urlencoded"

_SYSTEMS = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Mac OS X": "macOS",
            "CrOS": "ChromeOS", "Linux": "Linux"}  # fmt: skip
_PROGRAMS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "FxiOS": "Firefox", "CriOS": "Chrome",
             "HeadlessChrome": "Chrome", "Chrome": "Chrome", "Safari": "Safari", "curl": "curl"}  # fmt: skip
"""By their marks in the User-Agent, the telling ones first: every browser calls itself also by older names."""


def client_address(request: Request) -> str | None:
    """Where the browser is. `X-Forwarded-For` counts as far as proxies that the settings trust have written it."""
    peer = request.client.host if request.client else None
    return believed(peer, request.headers.getlist("x-forwarded-for"), state_of(request).settings.trusted_proxies)


def user_agent(request: Request) -> str | None:
    return one_line(request.headers.get("user-agent", "")) or None


def browser_name(agent: str | None) -> str | None:
    """`Firefox on Linux`; what we do not know as it calls itself, cut."""
    if not agent:
        return None
    program = next((name for mark, name in _PROGRAMS.items() if f"{mark}/" in agent), None)
    system = next((name for mark, name in _SYSTEMS.items() if mark in agent), None)
    if program is None:
        return agent if len(agent) <= 60 else f"{agent[:57]}..."
    return f"{program} on {system}" if system else program


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that a page of ours sent. Raises `PageError` for every other."""
    check_same_origin(request)
    body = await body_of(request)
    broken = PageError(400, "That did not arrive whole", "Go back and try again.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise broken
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError:
        raise broken from None


def check_same_origin(request: Request) -> None:
    """A form counts only from a page of ours: another site can make a browser send one, but not say whence it comes.

    Browsers send `Origin` with every POST, and `Sec-Fetch-Site` where they trust the connection. What says neither is
    no browser of today, and is refused.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = origin_of(state_of(request).settings.base_url)
    if (site is None and origin is None) or site not in (None, "same-origin") or origin not in (None, own):
        sentence = "This was not sent by a page of this service, so nothing was done. Open the page again and retry."
        raise PageError(403, "Not from here", sentence)
