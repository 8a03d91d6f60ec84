"""Renders the pages. The Content-Security-Policy allows only scripts and styles with the nonce of the answer."""

import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sshaft_identity.common.language import _, current, ngettext
from sshaft_identity.web.favicon import favicon
from sshaft_identity.web.language import PARAMETER
from sshaft_identity.web.problem import problem_of_status
from sshaft_identity.web.state import state_of


class Lean(FileSystemLoader):
    """Loads templates without what only their authors need: indentation, comments of scripts, blanks of style sheets.
    No template holds a text that needs blanks at the beginning or the end of its line.
    """

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, file, is_current = super().get_source(environment, template)
        lines = [line.strip() for line in source.splitlines()]
        lean = "\n".join(line for line in lines if line and not line.startswith("// ")) + "\n"
        if template.endswith(".css"):
            lean = re.sub(r"""("[^"]*"|'[^']*')|\s*;\s*(?=})|\s*([{};,])\s*|(?<=[\w-])(:) """, r"\1\2\3", lean)
        return lean, file, is_current


templates = Environment(
    loader=Lean(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.i18n"],
)
templates.policies["ext.i18n.trimmed"] = True
# Short: the page is in UTF-8, and its scripts read no blanks.
templates.policies["json.dumps_kwargs"] = {"sort_keys": True, "ensure_ascii": False, "separators": (",", ":")}
templates.install_gettext_callables(_, ngettext, newstyle=True)  # type: ignore[attr-defined]

templates.globals["favicon"] = favicon
_PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()"


class PageError(Exception):
    """Ends a request with a page that states the reason and the next step: a heading and a sentence."""

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
    form_action: str | None = "'self'",
    keeps_opener: bool = False,
    **values: Any,
) -> Response:
    """Returns the page. Without scripts it reloads after `refresh` seconds.

    `form_action` is that directive of the policy; None: the page may send its form anywhere. `keeps_opener`: an
    application may send people to the page, so an application that opened it as a pop-up must still see it.
    """
    nonce = secrets.token_urlsafe(16)
    state = state_of(request)
    html = templates.get_template(template).render(
        nonce=nonce,
        refresh=refresh,
        root=state.settings.base_path,
        look=state.look,
        help_for_all=state.settings.help.every_page,
        language=current(),
        query=_query(request) if status == 200 else "",
        languages=state.languages.all.values() if request.method == "GET" else (),
        **values,
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        f"img-src data:; frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": policy if form_action is None else f"{policy}; form-action {form_action}",
        "Cross-Origin-Opener-Policy": "unsafe-none" if keeps_opener else "same-origin",
        "Permissions-Policy": _PERMISSIONS,
        # With `no-referrer`, browsers send `Origin: null` with our own forms. This value tells other sites nothing.
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }
    return HTMLResponse(html, status, headers)


def _query(request: Request) -> str:
    """Returns the parameters of the page, so that it can be shown in another language, too."""
    others = [each for each in request.query_params.multi_items() if each[0] != PARAMETER]
    return f"{urlencode(others)}&" if others else ""


def redirect(request: Request, path: str) -> Response:
    """Redirects by GET to another of our pages, below the path of `public_url`."""
    return RedirectResponse(state_of(request).settings.base_path + path, 303)


async def answer_page_error(request: Request, error: Exception) -> Response:
    """Translates both texts; one that is translated already stays as it is."""
    assert isinstance(error, PageError)  # noqa: S101 - narrows the type of Starlette's signature
    return render(
        request, "said.html", error.status, keeps_opener=True, title=_(error.title), sentence=_(error.sentence)
    )


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answers an unknown path or method: a page for a browser that wants one, and a problem for everybody else."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    if "text/html" not in request.headers.get("accept", ""):
        return problem_of_status(error)
    sentence = _("There is no such page. If a link has led you here, tell your administrator.")
    page = render(request, "said.html", error.status_code, title=_("Not here"), sentence=sentence)
    page.headers.update(error.headers or {})
    return page
