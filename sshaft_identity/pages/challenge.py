"""The challenge page: where the person sees the ssh command with the code, or types the code that ssh printed, and then
that it has passed.
"""

import secrets
from datetime import datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import MAX_TRIES, Binding, Challenge, State, Verdict
from sshaft_identity.challenges.codes import attempt_name
from sshaft_identity.pages.words import ago, clock, moment
from sshaft_identity.web.browsers import browser_name, client_address, form_of
from sshaft_identity.web.call import wait_of
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.live import EventStream, page_state_of, polled, seconds_left
from sshaft_identity.web.problem import problem
from sshaft_identity.web.state import state_of

TEXTS: dict[str, tuple[str, str]] = {
    State.PENDING: ("Confirm with SSH", "Run this command in a terminal, with a key that you have registered."),
    State.ACCEPTED: ("Passed", "You can go back to where you logged in."),
    State.REJECTED: ("Denied", "This login was denied from SSH. If that was not you, tell your administrator."),
    State.EXPIRED: ("Too late", "This code is no longer valid. Start the login again to get a new one."),
    State.CANCELLED: ("Cancelled", "This login is over, or a newer one took its place. Start it again if you need it."),
    "tried_out": ("Denied", "Too many wrong codes were tried. Start the login again to get a new one."),
    "unknown": ("No such login", "This address belongs to no login, or to one that was long ago."),
}
"""What the page says in each of its states: a heading and a sentence. The page's script has them from here too."""
RETURN = {state: "Continue" if state == State.ACCEPTED else "Try again" for state in TEXTS if state != State.PENDING}
"""What leads back to where the login began, where its client has said where that is."""

TYPE_BACK = "Run this command in a terminal, with a key that you have registered, and type the code that it prints."
REFRESH_SECONDS = 2


async def page(request: Request) -> Response:
    """The code is worked out from the page's own address: the database holds neither."""
    challenge = await _challenge(request)
    if challenge is None:
        raise unknown()
    return await challenge_page(request, challenge, request.path_params["page_token"])


async def page_state(request: Request) -> Response:
    """What the page's script polls where it gets no events. With `?wait=` the answer waits until the challenge is over
    or a code was tried (`attempts_left` says how many the page has seen left).
    """
    wait = wait_of(request)
    challenge = await _challenge(request)
    return problem("not_found") if challenge is None else JSONResponse(await polled(request, challenge, wait))


async def page_events(request: Request) -> Response:
    challenge = await _challenge(request)
    return problem("not_found") if challenge is None else EventStream(request, challenge)


async def type_code(request: Request) -> Response:
    """`code_back`: the code that ssh printed, typed here. The page's address is what entitles to try; afterwards the
    browser gets the page anew, so that reloading tries nothing twice.
    """
    form = await form_of(request)
    challenge = await _challenge(request)
    if challenge is None:
        raise unknown()
    code = "".join(form.get("code", "").split())
    if not (code.isascii() and code.isdigit() and len(code) <= 16):
        return await challenge_page(request, challenge, request.path_params["page_token"], 400,
                                    fault="The code is the six digits that ssh printed.")  # fmt: skip
    state = state_of(request)
    name = attempt_name(form.get("attempt"), code)
    answer = await run_in_threadpool(state.store.challenges.verify, challenge, code, name, state.clock())
    state.changes.notify(answer.challenges)
    get_logger().info("challenge.verified", verdict=answer.verdict, challenge=challenge.id, user=challenge.user)
    if answer.verdict is Verdict.TOO_MANY_ATTEMPTS and answer.retry_at is not None:
        raise _locked(answer.retry_at)
    return redirect(request, request.url.path)


def _locked(until: datetime) -> PageError:
    sentence = f"Nothing more is tried before {moment(until)}. Then start the login again."
    return PageError(429, "Too many wrong codes", sentence)


async def challenge_page(
    request: Request,
    challenge: Challenge,
    page_token: str,
    status: int = 200,
    *,
    fault: str | None = None,
    base: str | None = None,
    **more: Any,
) -> Response:
    """The page of a challenge; `base`: the path that its script asks for news below, if not its own.

    `more`: `again`, what a form may be sent to for another try; `passed`, where the browser goes once it has passed;
    `return_url`, another way back, and what is written on it.
    """
    state, page_state = state_of(request), page_state_of(challenge, state_of(request))
    if page_state == State.PENDING and challenge.shown_at is None:
        await run_in_threadpool(state.store.challenges.show, challenge, state.clock(), client_address(request))
    types_back = challenge.binding is Binding.CODE_BACK
    title, sentence = TEXTS[page_state]
    left, context = seconds_left(challenge, state), challenge.context
    # What somebody is typing must not be reloaded away: that page is loaded anew only when its time is up.
    wait = left + 1 if types_back else REFRESH_SECONDS
    return render(
        request,
        "challenge.html",
        status,
        refresh=wait if page_state == State.PENDING else None,
        page_state=page_state,
        title=title,
        sentence=TYPE_BACK if types_back and page_state == State.PENDING else sentence,
        texts=TEXTS,
        app=context.app,
        user=challenge.user,
        address=context.ip,
        browser=browser_name(context.user_agent),
        began=ago(challenge.created_at, state.clock()),
        command=state.settings.ssh_command(state.store.challenges.code_of(challenge, page_token)),
        deny=state.settings.ssh_command("deny"),
        types_back=types_back,
        verify_required=challenge.verify_required,
        attempt=secrets.token_urlsafe(16),
        fault=fault,
        max_tries=MAX_TRIES,
        attempts_left=challenge.attempts_left,
        expires_in=left,
        left=clock(left),
        base=state.settings.base_path + (base or request.url.path),
        **{"again": None, "passed": None, "return_url": context.return_url, "return_words": RETURN} | more,
    )


def unknown() -> PageError:
    return PageError(404, *TEXTS["unknown"])


async def _challenge(request: Request) -> Challenge | None:
    return await run_in_threadpool(state_of(request).store.challenges.of_page, request.path_params["page_token"])
