"""Sends the news of one challenge or approval to its page, by server-sent events (WHATWG HTML §9.2) or a long poll.
Thousands of pages wait at a time. A waiting page is therefore one task, and uses no thread.
"""

import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sshaft_identity.approvals.approval import OPEN, Approval
from sshaft_identity.approvals.approval import State as ApprovalState
from sshaft_identity.challenges.challenge import MAX_TRIES, Challenge, State
from sshaft_identity.database.changes import Subject, Waiter
from sshaft_identity.database.database import UNAVAILABLE
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.call import wait_of
from sshaft_identity.web.problem import problem
from sshaft_identity.web.state import AppState, state_of

S = TypeVar("S", bound=Subject)
HEARTBEAT_SECONDS = 15
_RETRY_MS = 2000
_HEARTBEAT = b":\n\n"
_NOTHING = "nothing"
"""The mark of a page that shows nothing."""
_UNAVAILABLE = b"event: unavailable\ndata: {}\n\n"


def page_state_of(challenge: Challenge, state: AppState) -> str:
    """Returns the state that the page shows. A consumed challenge shows as accepted."""
    match challenge.state_at(state.clock()):
        case State.CONSUMED:
            return State.ACCEPTED
        case State.REJECTED if challenge.tries >= MAX_TRIES:
            return "tried_out"
        case other:
            return other


def seconds_left(challenge: Challenge, state: AppState) -> int:
    return max(0, math.ceil((challenge.expires_at - state.clock()).total_seconds()))


def news_of(challenge: Challenge, state: AppState) -> dict[str, Any]:
    """Returns the values that the page shows, and nothing else."""
    return {
        "state": page_state_of(challenge, state),
        "attempts_left": challenge.attempts_left,
        "expires_in": seconds_left(challenge, state),
    }


def is_over(challenge: Challenge, state: AppState) -> bool:
    return challenge.state_at(state.clock()) is not State.PENDING


@dataclass(frozen=True, slots=True)
class Live(Generic[S]):
    """What a page may learn of its subject, a challenge or an approval.

    `news`: the values that the page shows, and nothing else. `mark`: a text that differs if they differ, apart from the
    time that is left. The page sends the mark that it shows as the parameter `parameter`.
    """

    read: Callable[[AppState, S], Awaitable[S | None]]
    news: Callable[[S, AppState], dict[str, Any]]
    is_over: Callable[[S, AppState], bool]
    mark: Callable[[S], str]
    parameter: str

    def reader(self, state: AppState, subject: S) -> Callable[[], Awaitable[S | None]]:
        """Returns the function that `Changes.wait` calls to read the subject again."""
        return lambda: self.read(state, subject)

    def has_news(self, subject: S, state: AppState, seen: str) -> bool:
        """Whether the page does not show the subject as it is. `seen`: the mark that the page shows; empty: none."""
        return self.is_over(subject, state) or (seen != "" and seen != self.mark(subject))


CHALLENGE: Live[Challenge] = Live(
    read=lambda state, challenge: run_in_threadpool(state.store.challenges.get, challenge.id),
    news=news_of,
    is_over=is_over,
    mark=lambda challenge: str(challenge.attempts_left),
    parameter="attempts_left",
)


def approval_state_of(approval: Approval, state: AppState) -> str:
    """Returns the state that the page shows, without regard to who looks at it."""
    found = approval.state_at(state.clock())
    return "tried_out" if found is ApprovalState.DENIED and approval.tries_left == 0 else found


def approval_seconds_left(approval: Approval, state: AppState) -> int:
    return max(0, math.ceil((approval.expires_at - state.clock()).total_seconds()))


def _mark_of(approval: Approval) -> str:
    return f"{approval.state}-{approval.tries}"


def _is_settled(approval: Approval, state: AppState) -> bool:
    """Whether no page waits for news any more. The host says soon after the digits how the SSH login ended."""
    found = approval.state_at(state.clock())
    return found not in OPEN and (found is not ApprovalState.VERIFIED or state.clock() >= approval.expires_at)


APPROVAL: Live[Approval] = Live(
    read=lambda state, approval: run_in_threadpool(state.store.approvals.get, approval.id),
    news=lambda approval, state: {
        "state": approval_state_of(approval, state),
        "mark": _mark_of(approval),
        "expires_in": approval_seconds_left(approval, state),
    },
    is_over=_is_settled,
    mark=_mark_of,
    parameter="mark",
)


async def poll(request: Request, live: Live[S], subject: S, wait: int) -> dict[str, Any]:
    """Returns the news as soon as it differs from what the page shows, or after `wait` seconds."""
    state, seen = state_of(request), request.query_params.get(live.parameter, "")

    def has_news(subject: S) -> bool:
        return live.has_news(subject, state, seen)

    if wait and not has_news(subject):
        subject = await state.changes.wait(subject, live.reader(state, subject), has_news, wait)
    return live.news(subject, state)


def live_routes(path: str, live: Live[S], find: Callable[[Request], Awaitable[S | None]]) -> list[Route]:
    """Returns the two news endpoints of a page at `path`: `/state`, a long poll, and `/events`, an event stream.
    `find` returns the subject that the request may see, or None.
    """

    async def page_state(request: Request) -> Response:
        wait = wait_of(request)
        subject = await find(request)
        if subject is None:
            return problem("not_found")
        with _place(request, subject) if wait else nullcontext(True) as has_place:
            return JSONResponse(await poll(request, live, subject, wait)) if has_place else _no_place()

    async def page_events(request: Request) -> Response:
        subject = await find(request)
        return problem("not_found") if subject is None else EventStream(request, live, subject)

    return [Route(f"{path}/state", page_state, methods=["GET"]), Route(f"{path}/events", page_events, methods=["GET"])]


def _place(request: Request, subject: Subject) -> AbstractContextManager[bool]:
    return state_of(request).waiting.place(subject.id, client_address(request))


def _no_place() -> Response:
    return problem("too_many_pages", headers={"Retry-After": str(_RETRY_MS // 1000)})


async def _hears(waiter: Waiter[S], has_news: Callable[[S], bool]) -> bool:
    """Waits for news until the next comment is due. Returns False if the database does not answer."""
    try:
        await waiter.until(has_news, HEARTBEAT_SECONDS)
    except UNAVAILABLE:  # the task that follows the changes logs it, once
        return False
    return True


class EventStream(Response, Generic[S]):
    """Sends an event at once and for each change until the end. Comments keep the connection open or find it closed."""

    def __init__(self, request: Request, live: Live[S], subject: S) -> None:
        self.status_code = 200
        self.background = None
        # proxies must not buffer the stream (nginx) or change it (RFC 9111 §5.2.2.6)
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store, no-transform"}
        self.media_type = "text/event-stream"
        self.init_headers(headers)
        self._request = request
        self._live = live
        self._subject = subject

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with _place(self._request, self._subject) as has_place:
            await (self._stream(send) if has_place else _no_place()(scope, receive, send))

    async def _stream(self, send: Send) -> None:
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        state, live = state_of(self._request), self._live
        seen = _NOTHING

        def has_news(subject: S) -> bool:
            return live.has_news(subject, state, seen)

        yield f"retry: {_RETRY_MS}\n\n".encode()
        with state.changes.waiting(self._subject, live.reader(state, self._subject)) as waiter:
            while not state.changes.closed or has_news(waiter.subject):
                if has_news(waiter.subject):
                    seen = live.mark(waiter.subject)
                    yield f"data: {json.dumps(live.news(waiter.subject, state))}\n\n".encode()
                else:
                    yield _HEARTBEAT
                if live.is_over(waiter.subject, state) or await self._request.is_disconnected():
                    return
                while not await _hears(waiter, has_news):
                    yield _UNAVAILABLE
                    seen = _NOTHING  # the next event tells the page that the database is back
                    if await self._request.is_disconnected():
                        return
                    await waiter.pause(HEARTBEAT_SECONDS)
