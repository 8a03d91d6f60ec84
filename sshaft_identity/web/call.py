"""Requests become values here: limited bodies, checked JSON, the bearer of an access token."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from sshaft.validation import first_fault
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.web.problem import ProblemError
from sshaft_identity.web.state import AppState, state_of

MAX_BODY = 64 * 1024
MAX_DRAINED = 1024 * 1024
LONGEST_WAIT = 30


class Message(BaseModel):
    """A JSON body. Members we do not know are ignored, those we know must be of their own type."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


AMessage = TypeVar("AMessage", bound=Message)


async def body_of(request: Request) -> bytes:
    """The whole body. Raises `ProblemError` for one that is too large; then some of what comes is still taken in,
    for a peer that is busy sending would not hear the answer.
    """
    kept, total = bytearray(), 0
    async for chunk in request.stream():
        total += len(chunk)
        if total <= MAX_BODY:
            kept += chunk
        elif total > MAX_DRAINED:
            break
    if total > MAX_BODY:
        raise ProblemError("too_large")
    return bytes(kept)


def wait_of(request: Request) -> int:
    """`?wait=SECONDS`, 0 if left out."""
    value = request.query_params.get("wait", "0")
    if not (value.isascii() and value.isdigit()) or len(value) > 2 or int(value) > LONGEST_WAIT:
        raise ProblemError("invalid_request", detail=f"wait: must be 0 to {LONGEST_WAIT} seconds")
    return int(value)


@dataclass(slots=True)
class Call:
    """A request of the JSON API in the thread that works on it, its body read already. What it `changed` is told to
    those who wait for it when it is done.
    """

    request: Request
    body: bytes = b""
    changed: Collection[Challenge] = ()
    caller: str | None = None
    """The client that has proven itself."""

    @property
    def state(self) -> AppState:
        return state_of(self.request)

    def client(self, scope: Scope) -> Client:
        """The client that the access token was given to, if it was given for `scope` (RFC 6750 §3.1)."""
        kind, _, token = self.request.headers.get("authorization", "").partition(" ")
        client = None
        if kind.lower() == "bearer" and token:
            client = self.state.store.access_tokens.client_of(token.strip(), self.state.clock())
        if client is None:
            # RFC 6750 §3.1: no error code for a request without any token; ours names it all the same in the body.
            raise ProblemError("invalid_token", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        if scope not in client.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise ProblemError("insufficient_scope", headers={"WWW-Authenticate": challenge})
        return client

    def json_object(self) -> dict[str, Any] | None:
        """The body, where what it must have in it is known later; None if it is no object."""
        try:
            found = from_json(self.body)  # unlike json.loads it takes no halves of surrogate pairs
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def message(self, kind: type[AMessage]) -> AMessage:
        try:
            return kind.model_validate_json(self.body)
        except ValidationError as error:
            raise ProblemError("invalid_request", detail=first_fault(error)) from None


Work = Callable[[Call], Response]


def in_thread(work: Work, *, reads: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that does all its work in one thread: to go there and back costs as much as a query. `reads`: it
    writes nothing.
    """

    async def answer(request: Request) -> Response:
        call = Call(request, await body_of(request))
        response = await (call.state.run_read if reads else call.state.run_write)(partial(work, call))
        call.state.changes.notify(call.changed)
        return response

    return answer
