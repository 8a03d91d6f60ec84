"""Serves the lists of the help desk: people by the beginning of a name, what waits now, and the clients."""

import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft_identity.audit.log import record_event
from sshaft_identity.challenges.limits import locked_among
from sshaft_identity.common.fields import USER_PATTERN, one_line
from sshaft_identity.common.language import _
from sshaft_identity.desk import approvals, report
from sshaft_identity.desk.access import DESK, Member, member_of
from sshaft_identity.desk.person import NOTES_OF_PASS, facts_of_waiting
from sshaft_identity.pages.words import ago, clock, moment
from sshaft_identity.people.users import FoundUser
from sshaft_identity.web.html import render
from sshaft_identity.web.live import seconds_left
from sshaft_identity.web.state import AppState, state_of

PAGE_SIZE = 50


async def people(request: Request) -> Response:
    """Shows the people whose names begin with `?q=`, or without it those who are locked out."""
    member, query = await member_of(request), request.query_params
    beginning, after = one_line(query.get("q", ""))[:64], query.get("after", "")
    after_name = after if re.fullmatch(USER_PATTERN, after) else None
    note = NOTES_OF_PASS.get(query.get("note", ""))
    values = await run_in_threadpool(_found, state_of(request), member, beginning, after_name)
    return render(
        request,
        "desk.html",
        q=beginning,
        note=note and _(note),
        **values,
        **member.page_values("people"),
    )


def _found(state: AppState, member: Member, beginning: str, after: str | None) -> dict[str, Any]:
    now, most = state.clock(), state.settings.limits
    _note_look(state, member, "people", beginning)
    found = state.store.users.found(beginning, PAGE_SIZE + 1, after) if beginning else []
    page = found[:PAGE_SIZE]
    with state.store.database.read() as connection:
        keys = report.keys_of(connection, [each.name for each in page])
        locked = locked_among(connection, [each.name for each in page], most, now)
        everybody_locked = [] if beginning else report.locked_people(connection, most, now)

    def values(each: FoundUser) -> dict[str, Any]:
        count, used = keys.get(each.name, (0, None))
        return {
            "name": each.name, "id": each.id, "key_count": count, "used": None if used is None else ago(used, now),
            "locked": moment(locked[each.name]) if each.name in locked else None,
        }  # fmt: skip

    return {
        "people": [values(each) for each in page],
        "locked": [{"name": row.name, "id": row.id, "locked": moment(row.until)} for row in everybody_locked],
        "next": page[-1].name if len(found) > PAGE_SIZE else None,
    }


async def waiting(request: Request) -> Response:
    """Shows the logins that wait for ssh, the SSH logins that wait for an approval, and the open invitations."""
    member = await member_of(request)
    values = await run_in_threadpool(_waiting, state_of(request), member)
    return render(request, "desk_waiting.html", **values, **member.page_values("waiting"))


def _waiting(state: AppState, member: Member) -> dict[str, Any]:
    now = state.clock()
    _note_look(state, member, "waiting")
    with state.store.database.read() as connection:
        logins = report.waiting_logins(connection, now)
        invitations = report.waiting_invitations(connection, now)
        of_hosts = approvals.waiting_and_last(connection, state)
        ids = report.ids_of(connection, {name for each in logins if (name := each.user or each.hint)})
    return {
        "logins": [
            {
                "user": each.user or each.hint, "id": ids.get(each.user or each.hint or ""),
                "left": clock(seconds_left(each, state)), "is_named": each.user is not None,
                "facts": facts_of_waiting(each, now),
            }
            for each in logins
        ],
        "invitations": [
            {
                "user": row.user_name, "id": row.user_id, "state": row.state, "by": row.invited_by,
                "until": moment(row.expires_at),
            }
            for row in invitations
        ],
        "most": report.MOST,
        **of_hosts,
    }  # fmt: skip


async def clients(request: Request) -> Response:
    """Shows the clients and their last calls."""
    member = await member_of(request)
    found = await run_in_threadpool(_clients, state_of(request), member)
    return render(request, "desk_clients.html", clients=found, **member.page_values("clients"))


def _clients(state: AppState, member: Member) -> list[dict[str, Any]]:
    now = state.clock()
    _note_look(state, member, "clients")
    with state.store.database.read() as connection:
        found = report.clients_of(connection)
    return [
        {
            "name": each.client_id, "scope": each.scope, "networks": each.networks,
            "token": None if each.token_at is None else ago(each.token_at, now),
            "calls": [
                {
                    "at": moment(call.at), "what": _(report.CALLS[call.event]), "bad": call.event == "request.refused",
                    "details": call.facts.get("reason") or call.facts.get("app") or call.facts.get("host"),
                    "address": call.facts.get("client_ip"),
                }
                for call in each.calls
            ],
        }
        for each in found
    ]  # fmt: skip


def _note_look(state: AppState, member: Member, what: str, beginning: str | None = None) -> None:
    """Records that the member has looked at a list."""
    facts = {"what": what, "beginning": beginning or None}
    with state.store.database.write() as connection:
        record_event(connection, "desk.listed", state.clock(), user=None, **facts, **member.facts)


ROUTES = [
    Route(DESK, people, methods=["GET"]),
    Route(f"{DESK}/waiting", waiting, methods=["GET"]),
    Route(f"{DESK}/clients", clients, methods=["GET"]),
]
