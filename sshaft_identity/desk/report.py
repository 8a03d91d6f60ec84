"""Reads what the help desk shows of a person, of waiting logins and of clients. Every query is bounded."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from sshaft.addresses import source_of
from sshaft_identity.challenges import limits
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.challenges.limits import Limits, Scope
from sshaft_identity.challenges.rows import challenge_of, is_running, is_unsettled
from sshaft_identity.clients.access_tokens import TOKEN_LIFETIME
from sshaft_identity.common.language import N_
from sshaft_identity.database.tables import (
    access_tokens,
    audit_events,
    challenges,
    clients,
    enrolments,
    failures,
    sessions,
    ssh_keys,
    users,
)
from sshaft_identity.enrolment.enrolments import is_waiting
from sshaft_identity.people import last_logins
from sshaft_identity.people.last_logins import Ended

MOST = 100
"""Rows of a list on a page, at most."""
_LAST_LOGINS = 10
_LAST_EVENTS = 5000
_CALLS = 3
CALLS = {
    "challenge.created": N_("began a login"),
    "challenge.consumed": N_("took the result of a login"),
    "approval.opened": N_("asked for an approval"),
    "approval.verified": N_("got an approval"),
    "request.refused": N_("was refused"),
}
"""What a client does, by the event that it causes."""


@dataclass(frozen=True, slots=True)
class WrongCodes:
    """The wrong codes of a user in the window that ends at `ends_at`."""

    times: int
    most: int
    ends_at: datetime

    @property
    def are_too_many(self) -> bool:
        return self.times >= self.most


@dataclass(frozen=True, slots=True)
class Report:
    """What is known about a person, beside the keys. The rows hold the columns of their tables."""

    name: str
    id: str
    created_at: datetime
    wrong_codes: WrongCodes | None
    locked_addresses: list[tuple[str, datetime]]
    browsers: list[Row[Any]]
    passed: list[Ended]
    failed: list[Ended]
    waiting: list[Challenge]
    invitations: list[Row[Any]]


def person_of(connection: Connection, identifier: str) -> Row[Any] | None:
    """Returns the user with this id, or None."""
    return connection.execute(select(users).where(users.c.id == identifier)).one_or_none()


def report_of(connection: Connection, person: Row[Any], most: Limits, now: datetime) -> Report:
    is_own_session = (sessions.c.user_name == person.name) & (sessions.c.expires_at > now)
    of_person = select(challenges).where(challenges.c.user_name == person.name, is_running)
    is_open = is_waiting & (enrolments.c.expires_at > now)
    failed = last_logins.failures(connection, person.name, _LAST_LOGINS)
    return Report(
        person.name,
        person.id,
        person.created_at,
        _wrong_codes(connection, person.name, most, now),
        _locked_addresses(connection, failed, most, now),
        list(connection.execute(select(sessions).where(is_own_session).order_by(sessions.c.expires_at).limit(MOST))),
        last_logins.passed(connection, person.name, _LAST_LOGINS),
        failed,
        [challenge_of(row) for row in connection.execute(of_person.limit(MOST), {"now": now})],
        list(connection.execute(select(enrolments).where(enrolments.c.user_name == person.name, is_open).limit(MOST))),
    )


def _wrong_codes(connection: Connection, user: str, most: Limits, now: datetime) -> WrongCodes | None:
    subject = limits.Subject(Scope.USER, user).key
    counted = failures.c.scope == subject["scope"], failures.c.subject == subject["subject"], failures.c.ends_at > now
    row = connection.execute(select(failures).where(*counted)).one_or_none()
    return None if row is None else WrongCodes(row.times, most.user, row.ends_at)


def _locked_addresses(
    connection: Connection, failed: list[Ended], most: Limits, now: datetime
) -> list[tuple[str, datetime]]:
    """Returns the addresses of these failures from which too many wrong codes came, and until when they count."""
    subjects = {source_of(str(each.facts["ssh_address"])) for each in failed if "ssh_address" in each.facts}
    counted = failures.c.scope == Scope.SOURCE, failures.c.ends_at > now, failures.c.times >= most.source
    query = select(failures.c.subject, failures.c.ends_at).where(*counted, failures.c.subject.in_(subjects))
    return [(row.subject, row.ends_at) for row in connection.execute(query.order_by(failures.c.subject))]


def ids_of(connection: Connection, names: Collection[str]) -> dict[str, str]:
    """Returns the id of each of these users who exists."""
    query = select(users.c.name, users.c.id).where(users.c.name.in_(names))
    return {row.name: row.id for row in connection.execute(query)}


def locked_people(connection: Connection, most: Limits, now: datetime) -> list[Row[Any]]:
    """Returns the users whom wrong codes have locked out, with `until`, at most `MOST`."""
    query = select(users.c.name, users.c.id, failures.c.ends_at.label("until"))
    query = query.join(failures, failures.c.subject == users.c.name).where(limits.is_locked_user)
    query = query.order_by(failures.c.ends_at.desc()).limit(MOST)
    return list(connection.execute(query, {"now": now, "most": most.user}))


def keys_of(connection: Connection, names: Collection[str]) -> dict[str, tuple[int, datetime | None]]:
    """Returns the number of keys of each of these users, and when one of them was last used."""
    query = select(ssh_keys.c.user_name, func.count(), func.max(ssh_keys.c.last_used_at))
    query = query.where(ssh_keys.c.user_name.in_(names)).group_by(ssh_keys.c.user_name)
    return {name: (count, used) for name, count, used in connection.execute(query)}


def waiting_logins(connection: Connection, now: datetime) -> list[Challenge]:
    """Returns the logins that wait for ssh, the ones that end first at the beginning, at most `MOST`."""
    query = select(challenges).where(is_unsettled, is_running).order_by(challenges.c.expires_at).limit(MOST)
    return [challenge_of(row) for row in connection.execute(query, {"now": now})]


def waiting_invitations(connection: Connection, now: datetime) -> list[Row[Any]]:
    """Returns the open invitations, at most `MOST`."""
    query = select(enrolments, users.c.id.label("user_id")).join(users, users.c.name == enrolments.c.user_name)
    query = query.where(is_waiting, enrolments.c.expires_at > now)
    return list(connection.execute(query.order_by(enrolments.c.expires_at).limit(MOST)))


@dataclass(frozen=True, slots=True)
class ClientReport:
    """A client, its last access token that is still valid, and its last calls that the audit log has."""

    client_id: str
    scope: str
    networks: str
    token_at: datetime | None
    calls: list[Ended]


def clients_of(connection: Connection) -> list[ClientReport]:
    """Returns the clients, at most `MOST`. The last calls are those among the last events of the audit log."""
    found = connection.execute(select(clients).order_by(clients.c.client_id).limit(MOST)).all()
    latest = select(access_tokens.c.client_id, func.max(access_tokens.c.expires_at)).group_by(access_tokens.c.client_id)
    tokens = {client: ends - TOKEN_LIFETIME for client, ends in connection.execute(latest)}
    calls = _last_calls(connection)
    return [
        ClientReport(
            row.client_id, row.scope, row.networks, tokens.get(row.client_id), calls.get(row.client_id, [])[:_CALLS]
        )
        for row in found
    ]


def _last_calls(connection: Connection) -> dict[str, list[Ended]]:
    """Returns the last events that name a client, by client, the newest first."""
    query = select(audit_events.c.at, audit_events.c.event, audit_events.c.facts)
    query = query.order_by(audit_events.c.id.desc()).limit(_LAST_EVENTS)
    calls: dict[str, list[Ended]] = {}
    for row in connection.execute(query):
        if row.event in CALLS:
            facts = json.loads(row.facts)
            calls.setdefault(facts.get("client", ""), []).append(Ended(row.at, row.event, facts))
    return calls
