"""The challenge page: where the person sees the ssh command with the code, and then that it has passed."""

import math
import secrets
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from sshaft_identity.app_state import AppState, state_of
from sshaft_identity.challenge import MAX_TRIES, Challenge, State
from sshaft_identity.incoming import wait_of
from sshaft_identity.problem import problem

templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

TEXTS: dict[str, tuple[str, str]] = {
    State.PENDING: ("Confirm with SSH", "Run this command in a terminal, with a key that you have registered."),
    State.ACCEPTED: ("Passed", "You can go back to where you logged in."),
    State.REJECTED: ("Denied", "This login was denied from SSH. If that was not you, tell your administrator."),
    State.EXPIRED: ("Too late", "This code is no longer valid. Start the login again to get a new one."),
    State.CANCELLED: ("Cancelled", "This login is over. Start it again if you still need it."),
    "tried_out": ("Denied", "Too many wrong codes were tried. Start the login again to get a new one."),
    "unknown": ("No such login", "This address belongs to no login, or to one that was long ago."),
}
"""What the page says in each of its states: a heading and a sentence. The page's script has them from here too."""


async def page(request: Request) -> Response:
    """The code is worked out from the page's own address: the database holds neither."""
    page_token = request.path_params["page_token"]
    state = state_of(request)
    challenge = await run_in_threadpool(state.store.challenges.of_page, page_token)
    if challenge is None:
        return _html(404, page_state="unknown", app=None)
    return _html(
        200,
        page_state=page_state_of(challenge, state),
        app=challenge.context.app,
        user=challenge.user,
        command=state.settings.ssh_command(state.store.challenges.code_of(challenge, page_token)),
        attempts_left=challenge.attempts_left,
        expires_in=seconds_left(challenge, state),
    )


async def page_state(request: Request) -> Response:
    """What the page's script polls: nothing that the page does not show. With `?wait=` the answer waits until the
    challenge is over or a code was tried (`attempts_left` says how many the page has seen left).
    """
    wait = wait_of(request)
    page_token = request.path_params["page_token"]
    seen = request.query_params.get("attempts_left", "")
    state = state_of(request)
    challenge = await run_in_threadpool(state.store.challenges.of_page, page_token)
    if challenge is None:
        return problem("not_found")

    async def read() -> Challenge | None:
        return await run_in_threadpool(state.store.challenges.of_page, page_token)

    def has_news(challenge: Challenge) -> bool:
        is_over = challenge.state_at(state.clock()) is not State.PENDING
        return is_over or (seen != "" and seen != str(challenge.attempts_left))

    if wait and not has_news(challenge):
        challenge = await state.changes.wait(challenge, read, has_news, wait)
    return JSONResponse(
        {
            "state": page_state_of(challenge, state),
            "attempts_left": challenge.attempts_left,
            "expires_in": seconds_left(challenge, state),
        }
    )


def page_state_of(challenge: Challenge, state: AppState) -> str:
    """A key of `TEXTS`. Whether the result was fetched already is not the page's business."""
    match challenge.state_at(state.clock()):
        case State.CONSUMED:
            return State.ACCEPTED
        case State.REJECTED if challenge.tries >= MAX_TRIES:
            return "tried_out"
        case other:
            return other


def seconds_left(challenge: Challenge, state: AppState) -> int:
    return max(0, math.ceil((challenge.expires_at - state.clock()).total_seconds()))


def _html(status: int, **values: Any) -> Response:
    nonce = secrets.token_urlsafe(16)
    title, sentence = TEXTS[values["page_state"]]
    html = templates.get_template("challenge.html").render(
        nonce=nonce, title=title, sentence=sentence, texts=TEXTS, max_tries=MAX_TRIES, **values
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return HTMLResponse(html, status, {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"})
