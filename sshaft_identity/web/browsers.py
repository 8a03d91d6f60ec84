"""Reads from a request: the browser's address and name, its form, and whether one of our pages sent the form."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from sshaft_identity.common.addresses import believed, origin_of
from sshaft_identity.common.fields import one_line
from sshaft_identity.common.language import N_, _
from sshaft_identity.web.body import body_of
from sshaft_identity.web.html import PageError
from sshaft_identity.web.state import state_of

MAX_FIELDS = 16
FORM = "application/x-www-form-urlencoded"

_SYSTEMS = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Mac OS X": "macOS",
            "CrOS": "ChromeOS", "Linux": "Linux"}  # fmt: skip
_PROGRAMS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "FxiOS": "Firefox", "CriOS": "Chrome",
             "HeadlessChrome": "Chrome", "Chrome": "Chrome", "Safari": "Safari", "curl": "curl"}  # fmt: skip
"""Browsers by their marks in the User-Agent. Order matters: every browser also names older browsers."""

_ON = " on "


def client_address(request: Request) -> str | None:
    """Returns the IP address of the browser. Only entries of `X-Forwarded-For` that trusted proxies wrote are used."""
    peer = request.client.host if request.client else None
    settings = state_of(request).settings
    return believed(
        peer, request.headers.getlist("x-forwarded-for"), settings.trusted_proxies, settings.proxies_in_a_row
    )


def user_agent(request: Request) -> str | None:
    return one_line(request.headers.get("user-agent", "")) or None


def browser_name(agent: str | None) -> str | None:
    """Returns a name such as `Firefox on Linux`. An unknown program keeps its User-Agent, cut to 60 characters."""
    if not agent:
        return None
    program = next((name for mark, name in _PROGRAMS.items() if f"{mark}/" in agent), None)
    system = next((name for mark, name in _SYSTEMS.items() if mark in agent), None)
    if program is None:
        return agent if len(agent) <= 60 else f"{agent[:57]}..."
    return f"{program}{_ON}{system}" if system else program


def browser_in_words(name: str) -> str:
    """Returns a name that `browser_name` made, in the language of the page. The audit log has it in English."""
    program, on, system = name.partition(_ON)
    if not on or program not in _PROGRAMS.values() or system not in _SYSTEMS.values():
        return name
    return _("{program} on {system}").format(program=program, system=system)


async def form_of(request: Request) -> dict[str, str]:
    """Returns the fields of a form that one of our pages sent. Raises `PageError` for every other request."""
    check_same_origin(request)
    body = await body_of(request)
    incomplete = PageError(400, N_("Incomplete form"), N_("The form did not arrive completely. Go back and try again."))
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise incomplete
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError:
        raise incomplete from None


def check_same_origin(request: Request) -> None:
    """Raises `PageError` if the form does not come from one of our pages (protection against CSRF).
    Browsers send `Origin` with every POST, and `Sec-Fetch-Site` on secure connections. Another site cannot forge
    these headers. A request with neither of them is refused.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = origin_of(state_of(request).settings.base_url)
    if (site is None and origin is None) or site not in (None, "same-origin") or origin not in (None, own):
        sentence = N_(
            "This was not sent by a page of this service, so nothing was done. Open the page again and retry."
        )
        raise PageError(403, N_("Not from here"), sentence)
