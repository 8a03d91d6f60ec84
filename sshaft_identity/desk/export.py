"""Exports the people of a search, or the events of one person, as CSV or JSON lines. Needs a fresh SSH login."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.audit.log import canonical, record_event
from sshaft_identity.challenges.limits import locked_among
from sshaft_identity.common.fields import one_line
from sshaft_identity.common.times import rfc3339
from sshaft_identity.database.tables import audit_events
from sshaft_identity.desk import report
from sshaft_identity.desk.access import DESK, Member, member_and_form, take_order
from sshaft_identity.desk.person import name_of
from sshaft_identity.web.state import AppState, state_of

_BATCH = 500
PEOPLE = ("name", "id", "created_at", "keys", "last_used_at", "locked_until")
EVENTS = ("at", "event", "app", "client", "reason", "fingerprint", "ssh_address", "browser_address", "actor", "facts")
_FORMULA = re.compile("(^|[;,\t|])([ '\"]*)(?=[=+\\-@\uff0b\uff0d\uff1d\uff20])")

Record = dict[str, Any]


def harmless(value: object) -> str:
    """Returns a cell that a spreadsheet shows as text: it begins no formula, also if `;` parts the columns there."""
    return "" if value is None else _FORMULA.sub(r"\1\2'", one_line(str(value)))


def as_csv(columns: tuple[str, ...], records: Iterable[Record]) -> Iterator[str]:
    yield ",".join(f'"{each}"' for each in columns) + "\r\n"
    for record in records:
        line = io.StringIO()
        csv.writer(line, quoting=csv.QUOTE_ALL).writerow([harmless(record.get(name)) for name in columns])
        yield line.getvalue()


def as_json_lines(_columns: tuple[str, ...], records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        yield canonical({name: value for name, value in record.items() if value is not None}) + "\n"


FORMATS: dict[str, tuple[str, Callable[[tuple[str, ...], Iterable[Record]], Iterator[str]]]] = {
    "csv": ("text/csv; charset=utf-8", as_csv),
    "jsonl": ("application/jsonl", as_json_lines),
}


async def people(request: Request) -> Response:
    """Exports the people whose names begin with the field `q`, all people without it."""
    member, form = await member_and_form(request)
    await take_order(request, member)
    state, beginning = state_of(request), one_line(form.get("q", ""))[:64]
    await run_in_threadpool(_record_list, state, member, beginning, _format(form))
    return _answer("people", form, PEOPLE, _people(state, beginning))


async def events(request: Request) -> Response:
    """Exports the events of the audit log about one person."""
    member, form = await member_and_form(request)
    state, identifier = state_of(request), request.path_params["person"]
    name = await run_in_threadpool(name_of, state, identifier)
    await take_order(request, member)
    await run_in_threadpool(_record_person, state, member, name, _format(form))
    return _answer("events", form, EVENTS, _events(state, name, identifier))


def _format(form: dict[str, str]) -> str:
    return form["format"] if form.get("format") in FORMATS else "csv"


def _answer(name: str, form: dict[str, str], columns: tuple[str, ...], records: Iterable[Record]) -> Response:
    ending = _format(form)
    media_type, lines = FORMATS[ending]
    headers = {"Content-Disposition": f'attachment; filename="{name}.{ending}"'}
    return StreamingResponse(lines(columns, records), headers=headers, media_type=media_type)


def _people(state: AppState, beginning: str) -> Iterator[Record]:
    """Yields the people, a batch a time. No transaction is open between two batches."""
    after = None
    while found := state.store.users.found(beginning, _BATCH, after):
        names = [each.name for each in found]
        with state.store.database.read() as connection:
            keys = report.keys_of(connection, names)
            locked = locked_among(connection, names, state.settings.limits, state.clock())
        for each in found:
            count, used = keys.get(each.name, (0, None))
            yield {
                "name": each.name, "id": each.id, "created_at": rfc3339(each.created_at), "keys": count,
                "last_used_at": _time(used), "locked_until": _time(locked.get(each.name)),
            }  # fmt: skip
        after = found[-1].name


def _events(state: AppState, name: str, identifier: str) -> Iterator[Record]:
    """Yields the events about the person, the oldest first, a batch a time."""
    columns = audit_events.c
    mine = select(audit_events).where(columns.user_name == name, columns.user_id == identifier)
    after = 0
    while True:
        batch = mine.where(columns.id > after).order_by(columns.id).limit(_BATCH)
        with state.store.database.read() as connection:
            rows = connection.execute(batch).all()
        if not rows:
            return
        for row in rows:
            facts = json.loads(row.facts)
            shown = {each: facts.pop(each) for each in EVENTS if each in facts}
            yield {"at": rfc3339(row.at), "event": row.event, **shown, "facts": facts and canonical(facts)}
        after = rows[-1].id


def _time(value: datetime | None) -> str | None:
    return None if value is None else rfc3339(value)


def _record_list(state: AppState, member: Member, beginning: str, ending: str) -> None:
    facts = {"beginning": beginning or None, "format": ending, **member.facts}
    with state.store.database.write() as connection:
        record_event(connection, "desk.list_exported", state.clock(), user=None, **facts)
    get_logger().info("desk.list_exported", actor=member.name, beginning=beginning)


def _record_person(state: AppState, member: Member, name: str, ending: str) -> None:
    with state.store.database.write() as connection:
        record_event(connection, "desk.exported", state.clock(), user=name, format=ending, **member.facts)
    get_logger().info("desk.exported", actor=member.name, user=name)


ROUTES = [
    Route(f"{DESK}/export", people, methods=["POST"]),
    Route(f"{DESK}/people/{{person}}/export", events, methods=["POST"]),
]
