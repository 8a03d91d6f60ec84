"""Serves the challenge page: it shows the ssh command or takes the code that ssh printed, then shows the outcome."""

import secrets
from collections.abc import Mapping
from typing import Any

import segno
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft_identity.challenges.challenge import MAX_TRIES, Binding, Challenge, State, Verdict
from sshaft_identity.challenges.codes import attempt_name
from sshaft_identity.common.language import N_, _, ngettext
from sshaft_identity.pages import first_use
from sshaft_identity.pages.challenge_forms import NO_SUCH_LOGIN, challenge_routes, has_alias
from sshaft_identity.pages.words import ago, app_name, clock, moment, provider_label
from sshaft_identity.web import logins
from sshaft_identity.web.browsers import browser_in_words, browser_name, client_address, form_of
from sshaft_identity.web.call import Call
from sshaft_identity.web.favicon import icon_of
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.live import page_state_of, seconds_left
from sshaft_identity.web.state import state_of

TEXTS: dict[str, tuple[str, str]] = {
    State.PENDING: (
        N_("Confirm with SSH"),
        N_("Run this command in a terminal, with a key that you have registered."),
    ),
    State.ACCEPTED: (N_("Passed"), N_("You can go back to where you logged in.")),
    State.REJECTED: (
        N_("Denied"),
        N_("This login was denied. If you did not begin it, tell your administrator."),
    ),
    State.EXPIRED: (
        N_("Too late"),
        N_("This code is no longer valid. Start the login again to get a new one."),
    ),
    State.CANCELLED: (
        N_("Cancelled"),
        N_("This login is over, or a newer one took its place. Start it again if you need it."),
    ),
    "tried_out": (
        N_("Denied"),
        N_("Too many wrong codes were tried. Start the login again, unless ssh told you to wait."),
    ),
    "unknown": NO_SUCH_LOGIN,
}
"""The heading and the sentence of each state. The script of the page uses them too."""
RETURN_LABELS = {
    state: N_("Continue") if state == State.ACCEPTED else N_("Try again") for state in TEXTS if state != State.PENDING
}
"""The label of the link to the return URL, in each state."""

_TYPE_CODE = N_(
    "Run this command in a terminal, with a key that you have registered, and type the code that it prints."
)
REFRESH_SECONDS = 2
_TAB_TITLE = N_("Waiting for SSH")


async def page(request: Request) -> Response:
    """Computes the code from the page token in the path. The database holds neither of them."""
    challenge = await _challenge(request)
    if challenge is None:
        raise no_such_login()
    return await _page_at_its_address(request, challenge)


async def type_code(request: Request) -> Response:
    """Checks the code that ssh printed (`code_back`). The answer is a redirect, so that a reload repeats nothing."""
    form = await form_of(request)
    challenge = await _challenge(request)
    if challenge is None:
        raise no_such_login()
    code = "".join(form.get("code", "").split())
    if not (code.isascii() and code.isdigit() and len(code) <= 16):
        fault = _("The code is the six digits that ssh printed.")
        return await _page_at_its_address(request, challenge, 400, fault=fault)
    call = Call(request)
    answer = await run_in_threadpool(logins.verify, call, [challenge], code, attempt_name(form.get("attempt"), code))
    call.state.changes.notify(call.changed)
    if answer.verdict is Verdict.NOT_PRESENTED:
        fault = _("ssh has not printed a code for this login yet. Run the command first.")
        return await _page_at_its_address(request, challenge, 409, fault=fault)
    return redirect(request, request.url.path)


async def _page_at_its_address(
    request: Request, challenge: Challenge, status: int = 200, *, fault: str | None = None
) -> Response:
    """Returns the page with its address as a QR code. Elsewhere the page token is in a cookie and must stay there."""
    token = request.path_params["page_token"]
    address = state_of(request).settings.page_url(token)
    return await challenge_page(request, challenge, token, status, fault=fault, page_address=address)


async def challenge_page(
    request: Request,
    challenge: Challenge,
    page_token: str,
    status: int = 200,
    *,
    fault: str | None = None,
    base: str | None = None,
    return_words: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """Returns the page of a challenge. `base`: the path below which its script asks for news, if not the page's path.
    `return_words`: the labels of the link to the return URL. `more` may hold: `page_address`, which a phone may open;
    `again`, the path of the form that starts a new login; `passed`, the path to go to after the SSH login;
    `return_url`, another return URL.
    """
    state, page_state = state_of(request), page_state_of(challenge, state_of(request))
    if page_state == State.PENDING and challenge.shown_at is None:
        await run_in_threadpool(state.store.challenges.show, challenge, state.clock(), client_address(request))
    locked_until = None
    if page_state == State.PENDING and challenge.user is not None:
        locked_until = await run_in_threadpool(state.store.challenges.locked_until, challenge.user, state.clock())
    types_back = challenge.binding is Binding.CODE_BACK
    title, sentence = map(_, TEXTS[page_state])
    left, context = seconds_left(challenge, state), challenge.context
    code, server = state.store.challenges.code_of(challenge, page_token), state.settings.ssh_server
    # A reload would delete a code that is half typed and close what the person reads.
    is_calm = types_back or request.query_params.get("more") == "1"
    refresh = left + 1 if is_calm else REFRESH_SECONDS
    return render(
        request,
        "challenge.html",
        status,
        refresh=refresh if page_state == State.PENDING else None,
        keeps_opener=True,
        page_state=page_state,
        title=title,
        sentence=_(_TYPE_CODE) if types_back and page_state == State.PENDING else sentence,
        texts={each: [*map(_, text), *icon_of(each)] for each, text in TEXTS.items() if each != State.PENDING},
        phrases=_phrases(),
        user=challenge.user or challenge.hint,
        address=context.ip,
        browser=browser_in_words(browser_name(context.user_agent) or ""),
        began=ago(challenge.created_at, state.clock()),
        tab_title=_(_TAB_TITLE) if page_state == State.PENDING else title,
        has_alias=has_alias(request),
        command=server.short_command(code) if has_alias(request) else server.command(code),
        whole_command=server.command(code),
        short_command=server.short_command(code),
        code=code,
        deny=server.short_command("deny") if has_alias(request) else server.command("deny"),
        is_calm=is_calm,
        qr_code=qr_code,
        advice=state.settings.help,
        provider=provider_label(state),
        config_block=server.config_block(first_use.identity_file(None)),
        **first_use.values(request, server, code),
        types_back=types_back,
        verify_required=challenge.verify_required,
        attempt=secrets.token_urlsafe(16),
        fault=fault,
        locked_until=None if locked_until is None else moment(locked_until),
        max_tries=MAX_TRIES,
        attempts_left=challenge.attempts_left,
        expires_in=left,
        left=clock(left),
        base=state.settings.base_path + (base or request.url.path),
        **{
            "app": context.app and app_name(context.app),
            "page_address": None,
            "again": None,
            "passed": None,
            "return_url": context.return_url,
        }
        | more,
        return_words={each: _(label) for each, label in (return_words or RETURN_LABELS).items()},
    )


def _phrases() -> dict[str, Any]:
    """Returns what the script says, too: the time that is left, and how many tries are left (one text for each)."""
    return {
        "waiting": _("Waiting, {time} left"),
        "lost": _("Not connected, {time} left"),
        "wrong": [
            ngettext("Wrong code, {count} try left", "Wrong code, {count} tries left", count).format(count=count)
            for count in range(1, MAX_TRIES + 1)
        ],
        "noted": _("You will be notified"),
        "refused": _("Your browser refuses"),
    }


def qr_code(address: str) -> Markup:
    """Returns the address as an SVG image."""
    # Any mask is readable; the comparison of all eight takes longer than the rest of the page.
    code = segno.make(address, error="l", micro=False, boost_error=False, mask=0)
    image = code.svg_inline(border=4, omitsize=True, svgclass=None, lineclass=None)
    return Markup(image.replace("<svg ", '<svg aria-hidden="true" ', 1))  # noqa: S704 - segno's own text


def no_such_login() -> PageError:
    return PageError(404, *NO_SUCH_LOGIN)


async def _challenge(request: Request) -> Challenge | None:
    return await run_in_threadpool(state_of(request).store.challenges.of_page, request.path_params["page_token"])


ROUTES = [
    Route("/challenge/{page_token}", page, methods=["GET"]),
    Route("/challenge/{page_token}", type_code, methods=["POST"]),
    *challenge_routes("/challenge/{page_token}", _challenge, lambda _request, challenge: challenge.context.return_url),
]
