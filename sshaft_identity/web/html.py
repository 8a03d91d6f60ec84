"""How a page is answered: one skeleton, one policy that lets in nothing but what carries this answer's nonce, and a
calm page where there is nothing to show.
"""

import secrets
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sshaft_identity.web.state import state_of

templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()"


class PageError(Exception):
    """Ends a request with a page that says why and what to do: a heading and a sentence."""

    def __init__(self, status: int, title: str, sentence: str) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.sentence = sentence


def render(
    request: Request,
    template: str,
    status: int = 200,
    *,
    refresh: float | None = None,
    sends_to: str = "'self'",
    **values: Any,
) -> Response:
    """The page. `refresh`: without scripts it is loaded anew after so many seconds. `sends_to`: the origin that its
    forms may be sent to.
    """
    nonce = secrets.token_urlsafe(16)
    html = templates.get_template(template).render(
        nonce=nonce, refresh=refresh, root=state_of(request).settings.base_path, **values
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        f"img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action {sends_to}"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": PERMISSIONS,
        # Not `no-referrer`: with it browsers send `Origin: null` with our own forms. Other sites learn nothing either.
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }
    return HTMLResponse(html, status, headers)


def redirect(request: Request, path: str) -> Response:
    """On to another page of ours, by GET; below the path of `public_url` if it has one."""
    return RedirectResponse(state_of(request).settings.base_path + path, 303)


async def answer_page_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PageError)  # noqa: S101 - narrows what Starlette's signature leaves open
    return render(request, "said.html", error.status, title=error.title, sentence=error.sentence)
