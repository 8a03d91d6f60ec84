"""Reads the approvals of SSH logins that the help desk shows: what waits, what was last, and those of a person."""

from typing import Any

from sqlalchemy import Connection, Row, and_, not_, or_, select

from sshaft_identity.approvals import rows
from sshaft_identity.approvals.approval import Approval, State
from sshaft_identity.common.language import N_, _
from sshaft_identity.database.tables import approvals
from sshaft_identity.desk.report import MOST, ids_of
from sshaft_identity.pages.words import clock, moment
from sshaft_identity.web.live import approval_seconds_left, approval_state_of
from sshaft_identity.web.state import AppState

_OF_PERSON = 10
_STATES = {
    State.PENDING: N_("no answer yet"),
    State.APPROVED: N_("approved, the digits are missing"),
    State.VERIFIED: N_("the digits were right"),
    State.PASSED: N_("logged in"),
    State.DENIED: N_("denied"),
    "tried_out": N_("wrong digits"),
    State.REPORTED: N_("reported: not theirs"),
    State.EXPIRED: N_("ran out of time"),
    State.ENDED: N_("the SSH login went away"),
}
_BAD = (State.DENIED, State.REPORTED, "tried_out")


def waiting_and_last(connection: Connection, state: AppState) -> dict[str, list[dict[str, Any]]]:
    """Returns the values of the lists `approvals`, which wait, and `last_approvals`, at most `MOST` each."""
    now = state.clock()
    waits = and_(rows.is_open, rows.is_running(now))
    waiting = select(approvals).where(waits).order_by(approvals.c.expires_at)
    last = select(approvals).where(not_(waits)).order_by(approvals.c.created_at.desc())
    found = {
        "approvals": _read(connection, waiting.limit(MOST)),
        "last_approvals": _read(connection, last.limit(MOST)),
    }
    ids = ids_of(connection, {_user_of(each) for several in found.values() for each in several})
    return {name: [_values(each, state, ids) for each in several] for name, several in found.items()}


def of_person(connection: Connection, person: Row[Any], state: AppState) -> list[dict[str, Any]]:
    """Returns the values of the last approvals that the person might give, or has given."""
    is_own = or_(approvals.c.user_name == person.name, approvals.c.approver_name == person.name)
    query = select(approvals).where(is_own, approvals.c.created_at >= person.created_at)
    found = _read(connection, query.order_by(approvals.c.created_at.desc()).limit(_OF_PERSON))
    return [_values(each, state, {}) for each in found]


def _read(connection: Connection, query: Any) -> list[Approval]:
    return [rows.approval_of(row) for row in connection.execute(query)]


def _user_of(approval: Approval) -> str:
    return approval.asked.user if approval.consent is None else approval.consent.person.user


def _values(approval: Approval, state: AppState, ids: dict[str, str]) -> dict[str, Any]:
    """Returns the values that a page shows of an approval. Those of `facts` are foreign text."""
    asked, consent = approval.asked, approval.consent
    found, user = approval_state_of(approval, state), _user_of(approval)
    owner = state.network_owners.of(asked.client_ip)
    facts = (
        (_("Account there"), asked.account),
        (_("Client"), approval.client),
        (_("ssh from"), f"{asked.client_ip} ({owner})" if owner else asked.client_ip),
        (_("Browser at"), None if consent is None else consent.browser_ip),
        (_("Key"), asked.key_fingerprint),
    )
    return {
        "user": user,
        "id": ids.get(user),
        "host": asked.host,
        "state": _(_STATES[found]),
        "is_bad": found in _BAD,
        "left": clock(approval_seconds_left(approval, state)) if found in (State.PENDING, State.APPROVED) else None,
        "at": moment(approval.created_at),
        "iso": approval.created_at.isoformat(),
        "facts": [(label, value) for label, value in facts if value],
    }
