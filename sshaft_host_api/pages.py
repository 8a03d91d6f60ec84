"""The pages beside the API: the statement of privacy for people, and the description of the API for programs."""

import html
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.responses import HTMLResponse, JSONResponse, Response

from sshaft import __version__, config
from sshaft_host_api import texts
from sshaft_host_api.agent import Agent
from sshaft_host_api.call import Call

_NO_SCRIPTS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_NONE = "This host has no statement of privacy here. Ask its operator."
_PARAMETERS = {
    "/info/op": ("url",),
    "/verify_user": ("username",),
    "/admin/suspend": ("sub", "iss"),
    "/admin/resume": ("sub", "iss"),
}
_WITHOUT_TOKEN = ("/", "/info", "/info/op", "/user", "/admin")


def read_privacy(path: Path | None) -> str | None:
    """Returns the statement as HTML: the file itself if its name ends with .html. Raises `ConfigurationError`."""
    if path is None:
        return None
    text, _ = config.read_file(path)
    return text if path.suffix == ".html" else f"<!doctype html><title>Privacy</title><pre>{html.escape(text)}</pre>"


def privacy(statement: str | None) -> Callable[[Call, Agent], Awaitable[Response]]:
    """Returns the endpoint /privacy: the statement, for people who read it in a browser."""

    async def answer(_call: Call, _agent: Agent) -> Response:
        return HTMLResponse(statement or _NONE, 200 if statement else 404, _NO_SCRIPTS)

    return answer


async def openapi(_call: Call, _agent: Agent) -> Response:
    """/openapi.json: the endpoints, for programs that make clients of it."""
    token = {"type": "http", "scheme": "bearer", "description": "An OpenID Connect access token."}
    return JSONResponse(
        {
            "openapi": "3.1.0",
            "info": {"title": "sshaft host API", "description": texts.DESCRIPTION, "version": __version__},
            "paths": {path: {"get": _operation(path, summary)} for path, summary in _summaries().items()},
            "components": {"securitySchemes": {"token": token}},
        }
    )


def _summaries() -> dict[str, str]:
    every = ({"/": texts.ROOT["usage"]}, *(each["endpoints"] for each in (texts.ROOT, texts.USER, texts.ADMIN)))
    return {path: summary for each in every for path, summary in each.items()}


def _operation(path: str, summary: str) -> dict[str, object]:
    names = _PARAMETERS.get(path, ())
    parameters = [{"name": name, "in": "query", "required": True, "schema": {"type": "string"}} for name in names]
    answers = {"200": "The answer.", "400": "A parameter is missing.", "503": "The host cannot answer now."}
    if path not in _WITHOUT_TOKEN:
        answers |= {"401": "There is no usable token.", "403": "The person may not do this."}
    return {
        "summary": summary,
        "parameters": parameters,
        "security": [] if path in _WITHOUT_TOKEN else [{"token": []}],
        "responses": {status: {"description": text} for status, text in answers.items()},
    }
