"""Serves the page of one person at the help desk. Each look is in the audit log, with the member who looked."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft_identity.audit.log import record_event
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.common.fields import one_line
from sshaft_identity.common.language import N_, _
from sshaft_identity.desk import approvals, report
from sshaft_identity.desk.access import DESK, Member, member_of
from sshaft_identity.desk.report import Report
from sshaft_identity.pages.my_hosts import logins_of
from sshaft_identity.pages.words import ago, app_name, clock, key_kind, moment
from sshaft_identity.people.keys import RegisteredKey
from sshaft_identity.people.last_logins import Ended
from sshaft_identity.web.html import PageError, render
from sshaft_identity.web.live import seconds_left
from sshaft_identity.web.state import AppState, state_of

_SOURCES = {
    "operator": N_("by an administrator"),
    "import": N_("by an administrator, in an import"),
    "ssh": N_("by the person, over ssh"),
    "signature": N_("by the person, by a signature"),
}
NOTES_OF_PASS = {
    "confirmed": N_("Your ssh login has passed. For ten minutes you can change something."),
    "confirm": N_("This needs a new ssh login of yours. Nothing was done yet."),
    "no_cookie": N_("Nothing was confirmed. Begin again, in this browser."),
}
"""What the page says after the ssh login that a change needs. Every page of the desk may say it."""
NOTES = NOTES_OF_PASS | {
    "unlocked": N_("The wrong codes no longer count. The person can log in again."),
    "nothing_locked": N_("There were no wrong codes that count. Nothing was changed."),
    "key_removed": N_("The key is removed. It passes no login any more."),
    "keys_removed": N_("All keys are removed. Open invitations, signed-in browsers and logins at hosts end."),
    "signed_out": N_("Every browser of the person is signed out. The hosts are told to end the logins."),
    "host_login_ended": N_("The host is told to end it. That takes a minute at most, if the host can be reached."),
}


async def page(request: Request) -> Response:
    member, state = await member_of(request), state_of(request)
    note = NOTES.get(request.query_params.get("note", ""))
    identifier = request.path_params["person"]
    person, keys, last_approvals = await run_in_threadpool(_looked_at, state, member, identifier)
    sessions, remembered = await run_in_threadpool(logins_of, state, person.name)
    return render(
        request,
        "desk_person.html",
        note=note and _(note),
        person=person_values(person, state),
        keys=[_key_values(each, state.clock()) for each in keys],
        is_self=person.name == member.name,
        host_sessions=sessions,
        remembered=remembered,
        last_approvals=last_approvals,
        may_invite=state.settings.desk.may_invite and not is_member(state, person.id),
        **member.page_values("people"),
    )


def _looked_at(
    state: AppState, member: Member, identifier: str
) -> tuple[Report, list[RegisteredKey], list[dict[str, Any]]]:
    """Records the look and reads the person with keys and approvals. Raises `PageError` if there is no such person."""
    now = state.clock()
    with state.store.database.write() as connection:
        row = report.person_of(connection, identifier)
        if row is None:
            raise no_such_person()
        record_event(connection, "desk.looked", now, user=row.name, **member.facts)
    with state.store.database.read() as connection:
        found = report.report_of(connection, row, state.settings.limits, now)
        last_approvals = approvals.of_person(connection, row, state)
    return found, state.store.keys.of(row.name), last_approvals


def name_of(state: AppState, identifier: str) -> str:
    """Returns the name of the user with this id. Raises `PageError` if there is none."""
    name = state.store.users.name_of(identifier)
    if name is None:
        raise no_such_person()
    return name


def is_member(state: AppState, identifier: str) -> bool:
    """Whether the settings name this user as a member of the help desk."""
    return state.settings.desk.role_of(identifier, ()) is not None


def no_such_person() -> PageError:
    return PageError(404, N_("No such person"), N_("There is no such user, or no longer. Search again."))


def person_values(person: Report, state: AppState) -> dict[str, Any]:
    now, wrong = state.clock(), person.wrong_codes
    return {
        "name": person.name,
        "id": person.id,
        "since": moment(person.created_at),
        "locked": moment(wrong.ends_at) if wrong and wrong.are_too_many else None,
        "wrong_codes": wrong and {"times": wrong.times, "most": wrong.most, "until": moment(wrong.ends_at)},
        "locked_addresses": [{"address": name, "until": moment(until)} for name, until in person.locked_addresses],
        "browsers": [_browser_values(row, now) for row in person.browsers],
        "passed": [_login_values(each) for each in person.passed],
        "failed": [{"why": _why(each)} | _login_values(each) for each in person.failed],
        "waiting": [
            {
                "app": each.context.app and app_name(each.context.app), "left": clock(seconds_left(each, state)),
                "facts": facts_of_waiting(each, now),
            }
            for each in person.waiting
        ],
        "invitations": [
            {"state": row.state, "by": row.invited_by, "until": moment(row.expires_at)} for row in person.invitations
        ],
    }  # fmt: skip


def _browser_values(row: Row[Any], now: datetime) -> dict[str, Any]:
    return {
        "how": _("Signed in with ssh") if row.method == "ssh" else _("Signed in at the OpenID Provider"),
        "since": ago(row.authenticated_at, now),
        "until": moment(row.expires_at),
        "fingerprint": row.fingerprint,
    }


def facts_of_waiting(login: Challenge, now: datetime) -> list[tuple[str, Any]]:
    """Returns what is known about a login that waits for ssh, each with its label. The values are foreign text."""
    facts = (
        (_("App"), login.context.app and app_name(login.context.app)),
        (_("Begun"), ago(login.created_at, now)),
        (_("Browser at"), login.context.ip),
        (_("Client"), login.client),
        (_("Tries left"), login.attempts_left),
    )
    return [(label, value) for label, value in facts if value is not None]


def _why(login: Ended) -> str:
    until = login.facts.get("until")
    return _(login.sentence).format(until=_("later") if until is None else moment(datetime.fromisoformat(until)))


def _login_values(login: Ended) -> dict[str, Any]:
    facts = login.facts
    return {
        "at": moment(login.at),
        "iso": login.at.isoformat(),
        "facts": [
            (label, app_name(value) if name == "app" else value)
            for name, label in (
                ("app", _("App")), ("client", _("Client")), ("ssh_address", _("ssh from")),
                ("client_ip", _("ssh from")), ("browser_address", _("Browser at")), ("fingerprint", _("Key")),
            )
            if name in facts and (value := one_line(str(facts[name])))
        ],
    }  # fmt: skip


def _key_values(key: RegisteredKey, now: datetime) -> dict[str, Any]:
    return {
        "fingerprint": key.key.fingerprint,
        "name": one_line(key.name) or key_kind(key.key.type),
        "kind": key_kind(key.key.type),
        "is_hardware": key.key.is_security_key,
        "attested": key.attested,
        "how": _(_SOURCES.get(key.source, key.source)),
        "since": moment(key.created_at),
        "age": ago(key.created_at, now),
        "used": None if key.last_used_at is None else ago(key.last_used_at, now),
        "used_from": key.last_used_from,
        "expires": None if key.expires_at is None else moment(key.expires_at),
        "is_expired": key.expires_at is not None and key.expires_at <= now,
    }


ROUTES = [Route(f"{DESK}/people/{{person}}", page, methods=["GET"])]
