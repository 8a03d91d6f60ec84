"""Answers the page: which terminals there are, and opens and closes them."""

from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft_web import events
from sshaft_web.browsers import (
    Columns,
    Message,
    RefusedError,
    Rows,
    check_origin,
    client_address,
    json_of,
    session_of,
    terminal_of,
)
from sshaft_web.state import state_of
from sshaft_web.terminals.terminal import Size, Terminal
from sshaft_web.terminals.terminals import CLOSED, TooManyError


class Wish(Message):
    """A terminal that the page wants. `user` is the account on a host without an API of token login."""

    target: str
    columns: Columns = 80
    rows: Rows = 24
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}\$?$")] | None = None


async def list_terminals(request: Request) -> Response:
    person, terminals = session_of(request).person, state_of(request).terminals
    return JSONResponse({"terminals": [as_json(each) for each in terminals.of(person) + terminals.unseen(person)]})


async def open_terminal(request: Request) -> Response:
    session, state = session_of(request), state_of(request)
    wish, client = await json_of(request, Wish), client_address(request)
    target = state.terminals.targets.get(wish.target)
    if target is None:
        events.refused(session.person, wish.target, "unknown_target", client)
        raise RefusedError(404, "unknown_target", "There is no such host here.")
    if (wish.user is None) is (target.service is None):
        sentence = "Name your account on this host." if target.service is None else "This host knows your account."
        raise RefusedError(400, "wrong_user", sentence)
    try:
        terminal = state.terminals.open(session, target, Size(wish.columns, wish.rows), wish.user or "", client)
    except TooManyError as error:
        events.refused(session.person, target.name, "too_many_terminals", client)
        raise RefusedError(429, "too_many_terminals", str(error)) from None
    return JSONResponse({"id": terminal.id}, 201)


async def close_terminal(request: Request) -> Response:
    check_origin(request)
    terminal_of(request).close(CLOSED, "You have closed the terminal.")
    return Response(status_code=204)


def as_json(terminal: Terminal) -> dict[str, object]:
    """Returns what the page shows of a terminal."""
    return {
        "id": terminal.id,
        "target": terminal.target.name,
        "title": terminal.target.title,
        "account": terminal.account,
        "since": terminal.since.isoformat(timespec="seconds"),
        "connected": terminal.is_connected,
    }


ROUTES = [
    Route("/api/terminals", list_terminals, methods=["GET"]),
    Route("/api/terminals", open_terminal, methods=["POST"]),
    Route("/api/terminals/{id}/close", close_terminal, methods=["POST"]),
]
