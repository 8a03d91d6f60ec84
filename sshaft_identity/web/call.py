"""Turns requests into checked values: a body of limited size, a JSON message, the client of an access token."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from sshaft.validation import first_fault
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.database.changes import Subject
from sshaft_identity.web import refused_requests
from sshaft_identity.web.body import MAX_BODY, body_of
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.problem import ProblemError
from sshaft_identity.web.state import AppState, state_of

MAX_WAIT_SECONDS = 30


class Message(BaseModel):
    """A JSON body. Unknown members are ignored. Known members must have exactly their type."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


SomeMessage = TypeVar("SomeMessage", bound=Message)


def wait_of(request: Request) -> int:
    """Returns the seconds of `?wait=SECONDS`, or 0 without it. Raises `ProblemError` for any other value."""
    value = request.query_params.get("wait", "0")
    if not (value.isascii() and value.isdigit()) or len(value) > 2 or int(value) > MAX_WAIT_SECONDS:
        raise ProblemError("invalid_request", detail=f"wait: must be 0 to {MAX_WAIT_SECONDS} seconds")
    return int(value)


@dataclass(slots=True)
class Call:
    """A request whose body was read. After its work, the pages and long polls of what `changed` get news."""

    request: Request
    body: bytes = b""
    changed: Collection[Subject] = ()
    caller: str | None = None
    """The id of the client, once it is authenticated."""

    @property
    def state(self) -> AppState:
        return state_of(self.request)

    def client(self, scope: Scope) -> Client:
        """Returns the client of the access token, which must come from an address of the client (`--from`).

        Raises `ProblemError`, also if the token lacks `scope` (RFC 6750 §3.1).
        """
        kind, _, token = self.request.headers.get("authorization", "").partition(" ")
        client = None
        if kind.lower() == "bearer" and token:
            client = self.state.store.access_tokens.client_of(token.strip(), self.state.clock())
        if client is not None and not client.may_call_from(client_address(self.request)):
            self.caller = client.client_id  # for the operator: perhaps the token was stolen
            refused_requests.note(self, "api", "invalid_token", "this client may not call from there")
            client = None
        if client is None:
            # RFC 6750 §3.1 advises against an error code if there is no token. Our body names the error in every case.
            raise ProblemError("invalid_token", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        if scope not in client.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise ProblemError("insufficient_scope", headers={"WWW-Authenticate": challenge})
        return client

    def json_object(self) -> dict[str, Any] | None:
        """Returns the body as a JSON object that is not checked yet; None if the body is no JSON object."""
        return json_object(self.body)

    def message(self, kind: type[SomeMessage]) -> SomeMessage:
        """Returns the body as a message of this kind. Raises `ProblemError` if it is no such message."""
        try:
            return kind.model_validate_json(self.body)
        except ValidationError as error:
            raise ProblemError("invalid_request", detail=first_fault(error)) from None


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """Returns the JSON object in the text, or None if the text is no JSON object."""
    try:
        found = from_json(text)  # unlike json.loads, from_json refuses lone surrogates
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


Work = Callable[[Call], Response]


def in_thread(work: Work, *, reads: bool = False, largest: int = MAX_BODY) -> Callable[[Request], Awaitable[Response]]:
    """Returns an endpoint that changes threads only once: a change costs as much as a query. `reads`: no writes.
    `largest`: the most bytes of a body.
    """

    async def answer(request: Request) -> Response:
        call = Call(request, await body_of(request, largest))
        response = await (call.state.run_read if reads else call.state.run_write)(partial(work, call))
        call.state.changes.notify(call.changed)
        return response

    return answer
