"""Chooses the language of each page: by `ui_locales`, by what this browser chose before, or by its settings."""

from functools import lru_cache
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sshaft_identity.common.language import ENGLISH, Language, Languages, preferred, speaking
from sshaft_identity.web import cookies
from sshaft_identity.web.state import state_of

PARAMETER = "ui_locales"
"""The parameter of OpenID Connect Core §3.1.2.1, and of each of our pages: languages, separated by spaces."""
_SECONDS = 365 * 86400


class ChooseLanguage:
    """Middleware. Answers each request in a language, and keeps the one that `ui_locales` names in a cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        named = _named(request)

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and not any(map(_keeps, message["headers"])):
                holder = Response()
                keep(request, holder, named)
                message["headers"] = [*message["headers"], *filter(_keeps, holder.raw_headers)]
            await send(message)

        with speaking(named or _usual(request)):
            await self._app(scope, receive, send_with_cookie if named else send)


def keep(request: Request, response: Response, language: Language | None) -> None:
    """Lets this browser have its pages in this language from now on. None changes nothing."""
    if language is not None:
        cookies.write(request, response, cookies.LANGUAGE, language.tag, _SECONDS, "lax")


def of_parameter(languages: Languages, value: str | None) -> Language | None:
    """Returns the first language of `ui_locales` that there is."""
    return languages.first_of(value.split()) if value else None


def _named(request: Request) -> Language | None:
    query = request.scope["query_string"]
    if PARAMETER.encode() not in query:
        return None
    values = parse_qs(query.decode("latin-1")).get(PARAMETER)
    return of_parameter(state_of(request).languages, values[0] if values else None)


def _usual(request: Request) -> Language:
    """Returns the language that this browser has kept, or else the one that it prefers, or else English."""
    languages = state_of(request).languages
    if kept := cookies.read(request, cookies.LANGUAGE):
        found = languages.first_of([kept])
    else:
        found = _preferred(languages, request.headers.get("accept-language", ""))
    return found or ENGLISH


@lru_cache(maxsize=256)
def _preferred(languages: Languages, header: str) -> Language | None:
    return languages.first_of(preferred(header))


def _keeps(header: tuple[bytes, bytes]) -> bool:
    name, value = header
    return name == b"set-cookie" and f"{cookies.LANGUAGE}=".encode() in value.partition(b";")[0]
