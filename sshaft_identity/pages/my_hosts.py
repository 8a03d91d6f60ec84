"""Serves the page "My hosts": where the person is logged in, and which hosts remember an approval. It can end both."""

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.common.fields import one_line
from sshaft_identity.common.language import N_, _
from sshaft_identity.host_logins import ending, listing
from sshaft_identity.host_logins.entries import HostLogin, Kind
from sshaft_identity.pages.signed_in import HOSTS, account_values, facts_of, session_and_form, signed_in
from sshaft_identity.pages.words import ago, moment
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.state import AppState, state_of

_DONE_SENTENCES = {
    "ended": N_("The host is told to end it. That takes a minute at most, if the host can be reached."),
    "all_ended": N_("The hosts are told to end everything. That takes a minute at most, if they can be reached."),
}


async def hosts(request: Request) -> Response:
    session, state = await signed_in(request), state_of(request)
    sessions, remembered = await run_in_threadpool(logins_of, state, session.user)
    done = _DONE_SENTENCES.get(request.query_params.get("done", ""))
    return render(
        request,
        "hosts.html",
        sessions=sessions,
        remembered=remembered,
        done=done and _(done),
        **await account_values(request, session, "hosts"),
    )


def logins_of(state: AppState, user: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns what a page shows of the sessions of the user, and of the remembered approvals."""
    now = state.clock()
    with state.store.database.read() as connection:
        sessions, remembered = (listing.logins_of(connection, user, kind) for kind in Kind)
    return _values(sessions, now), _values(remembered, now)


def _values(logins: Iterable[HostLogin], now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "id": each.id, "host": one_line(each.host), "account": one_line(each.account), "client": each.client,
            "service": one_line(each.service), "source": one_line(each.source or ""), "fingerprint": each.fingerprint,
            "is_proven": each.is_proven, "is_ending": each.is_ending, "since": moment(each.began_at),
            "since_iso": each.began_at.isoformat(), "age": ago(each.began_at, now),
            "until": None if each.until is None else moment(each.until),
            "used": None if each.used_at is None else ago(min(each.used_at, now), now),
            "heard": moment(each.reported_at) if each.is_silent(now) else None,
        }
        for each in logins
    ]  # fmt: skip


async def end(request: Request) -> Response:
    session, form = await session_and_form(request)
    state, identifier = state_of(request), form.get("id", "")[:64]
    order = partial(ending.end, state.store.database, session.user, identifier, state.clock(), **facts_of(request))
    if not await run_in_threadpool(order):
        raise PageError(404, N_("No longer there"), N_("It has ended already. Go back to your hosts."))
    get_logger().info("host_login.end_ordered", user=session.user, login=identifier)
    return redirect(request, f"{HOSTS}?done=ended")


async def end_all(request: Request) -> Response:
    session, _ = await session_and_form(request)
    state = state_of(request)
    order = partial(state.store.revocation.end_at_hosts, session.user, state.clock(), **facts_of(request))
    await run_in_threadpool(order)
    get_logger().info("host_login.all_ended", user=session.user)
    return redirect(request, f"{HOSTS}?done=all_ended")


ROUTES = [
    Route(HOSTS, hosts, methods=["GET"]),
    Route(f"{HOSTS}/end", end, methods=["POST"]),
    Route(f"{HOSTS}/end-all", end_all, methods=["POST"]),
]
