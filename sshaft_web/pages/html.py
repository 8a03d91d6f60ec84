"""Renders the pages. The Content-Security-Policy allows scripts only from /static/, and no foreign address at all."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from sshaft_web.pages.static_files import StaticFiles

_PERMISSIONS = "camera=(), clipboard-read=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()"


@dataclass(frozen=True)
class Host:
    """A target of the configuration, as the page shows it. `asks_user`: the person types the account name."""

    name: str
    title: str
    asks_user: bool = False


class Pages:
    """Writes each page as an answer. `origin` is scheme and host of this program in the browser."""

    def __init__(self, origin: str, files: StaticFiles) -> None:
        self._origin = origin
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["static"] = files.url

    def sign_in(self, provider: str) -> Response:
        """Returns the page of a person who has not signed in. `provider` is the name on the button."""
        return self._render("sign_in.html", provider=provider)

    def terminals(self, person: str, hosts: Sequence[Host]) -> Response:
        """Returns the page with the hosts and the terminals. `person` is the name of who has signed in."""
        return self._render("terminals.html", person=person, hosts=hosts)

    def said(self, status: int, title: str, sentence: str) -> Response:
        """Returns a page that says what happened and what to do next, with a link to the first page."""
        return self._render("said.html", status, title=title, sentence=sentence)

    def _render(self, template: str, status: int = 200, **values: Any) -> Response:
        nonce = secrets.token_urlsafe(16)
        html = self._templates.get_template(template).render(nonce=nonce, **values)
        return HTMLResponse(html, status, self._headers(nonce))

    def _headers(self, nonce: str) -> dict[str, str]:
        sources = f"{self._origin}/static/"
        policy = {
            "default-src": "'none'",
            "script-src": sources,
            "style-src": f"{sources} 'nonce-{nonce}'",  # xterm makes style elements; static/strict_styles.js
            "img-src": "data:",
            # Not every browser takes the same address with ws: for 'self'.
            "connect-src": f"'self' {self._origin.replace('http', 'ws', 1)}",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }
        return {
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": _PERMISSIONS,
            # With `no-referrer`, browsers send `Origin: null` with our own forms.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
