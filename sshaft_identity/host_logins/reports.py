"""Stores the reports of hosts. A report is the whole present state of one host: what is missing has ended.

A client reports only for itself, and can neither show nor end anything of another client.
"""

import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, tuple_, update

from sshaft_identity.clients.clients import is_registered
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import approvals, host_logins, host_reports, users
from sshaft_identity.host_logins.ending import is_over
from sshaft_identity.host_logins.entries import Kind, Reported
from sshaft_identity.host_logins.events import record_began, record_ended

MAX_HOSTS = 1000
"""Hosts that may report as one client."""
MAX_ENTRIES = 50_000
"""Entries that the service keeps of one client."""
MAX_CLAIMED = 200
"""Entries of one person that a client may report without an approval. They fill the lists of the person."""
MAX_NEW = 500
"""New entries that one report brings. The next reports bring the rest."""
_BATCH = 500

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Person:
    """Who has an entry. With `approval`, the person has approved it here; else the host only says who has it.

    `fingerprint` is the key that ssh had used then, `approved_with` the key by which the person had signed in.
    """

    id: str
    name: str
    approval: str | None = None
    granted_at: datetime | None = None
    approved_with: str | None = None
    fingerprint: str | None = None


NOBODY = _Person("", "")
"""The person of an entry that only this service can have allowed, for a user who was removed or an approval that it
does not know. An account of another provider that is linked to no user is not our matter."""


class HostReports:
    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, client: str, host: str, entries: Collection[Reported], now: datetime) -> list[Key]:
        """Stores the whole state of a host. Returns the keys of the reported entries that the host must end.

        An entry whose person is not known is not stored. A host must end it if only this service can have allowed it.
        Raises `RegistryError` if the client is gone, or has too many hosts.
        """
        with self._database.write(alone=f"host report {client}") as connection:
            if not is_registered(connection, client):
                raise RegistryError("there is no such client")
            _note(connection, client, host, now)
            of_host = and_(host_logins.c.client_id == client, host_logins.c.host == host)
            known = {(row.kind, row.entry): row for row in connection.execute(select(host_logins).where(of_host))}
            reported = {each.key: each for each in entries}
            _drop(connection, [row for key, row in known.items() if key not in reported], now)
            _update(connection, known, reported)
            room = MAX_ENTRIES - _count(connection, client) if reported.keys() - known.keys() else 0
            new = [each for key, each in reported.items() if key not in known][: max(0, min(room, MAX_NEW))]
            not_ours = _add(connection, client, host, new, now)
            over = select(host_logins.c.kind, host_logins.c.entry).where(of_host, is_over)
            return [*not_ours, *((row.kind, row.entry) for row in connection.execute(over))]


def _note(connection: Connection, client: str, host: str, now: datetime) -> None:
    is_host = and_(host_reports.c.client_id == client, host_reports.c.host == host)
    if connection.execute(update(host_reports).where(is_host).values(reported_at=now)).rowcount:
        return
    count = select(func.count()).select_from(host_reports).where(host_reports.c.client_id == client)
    if (connection.scalar(count) or 0) >= MAX_HOSTS:
        raise RegistryError(f"{MAX_HOSTS} hosts have reported as this client")
    connection.execute(insert(host_reports).values(client_id=client, host=host, reported_at=now))


def _count(connection: Connection, client: str) -> int:
    count = select(func.count()).select_from(host_logins).where(host_logins.c.client_id == client)
    return connection.scalar(count) or 0


def _drop(connection: Connection, rows: list[Row[Any]], now: datetime) -> None:
    """Forgets entries that the host has no longer, with one event for each."""
    for batch in _batches(rows):
        owners = select(users.c.id, users.c.name).where(users.c.id.in_([each.user_id for each in batch]))
        names = {row.id: row.name for row in connection.execute(owners)}
        connection.execute(delete(host_logins).where(host_logins.c.id.in_([each.id for each in batch])))
        for row in batch:
            record_ended(connection, row, now, names.get(row.user_id))


def _update(connection: Connection, known: Mapping[Key, Row[Any]], reported: Mapping[Key, Reported]) -> None:
    """Stores new times of remembered approvals. The person of an entry never changes."""
    for key in known.keys() & reported.keys():
        row, times = known[key], {"until": reported[key].until, "used_at": reported[key].used_at}
        if (row.until, row.used_at) != (times["until"], times["used_at"]):
            connection.execute(update(host_logins).where(host_logins.c.id == row.id).values(times))


def _add(connection: Connection, client: str, host: str, new: list[Reported], now: datetime) -> list[Key]:
    """Stores the new entries whose person is known. Returns the keys of those that belong to nobody any more."""
    people, not_ours = _people(connection, client, new), list[Key]()
    claimed = _claimed(connection, client, {each.id for each in people.values()})
    for each in new:
        person = people.get(each.key)
        if person is None:
            continue
        if person is NOBODY:
            not_ours.append(each.key)
            continue
        if person.approval is None:
            claimed[person.id] += 1
            if claimed[person.id] > MAX_CLAIMED:
                continue
        # A host whose clock is ahead must not escape a revocation.
        began_at = min(each.began_at or now, now)
        values = {
            "client_id": client, "host": host, "kind": each.kind, "entry": each.entry, "account": each.account,
            "service": each.service, "source": each.source,
            "fingerprint": each.fingerprint or person.fingerprint, "approval": person.approval,
            "approved_with": person.approved_with, "began_at": began_at, "until": each.until, "used_at": each.used_at,
        }  # fmt: skip
        granted_at = min(began_at, person.granted_at or began_at)
        row = connection.execute(
            insert(host_logins)
            .values(id=secrets.token_hex(16), user_id=person.id, granted_at=granted_at, **values)
            .returning(host_logins)
        ).one()
        record_began(connection, row, now, person.name)
    return not_ours


def _claimed(connection: Connection, client: str, ids: Collection[str]) -> Counter[str]:
    """Returns how many entries without an approval the client has for each of these people."""
    is_claim = and_(host_logins.c.client_id == client, host_logins.c.approval.is_(None), host_logins.c.user_id.in_(ids))
    counts = select(host_logins.c.user_id, func.count()).where(is_claim).group_by(host_logins.c.user_id)
    return Counter({row[0]: row[1] for row in connection.execute(counts)})


def _people(connection: Connection, client: str, new: list[Reported]) -> dict[Key, _Person]:
    """Returns the person of each entry whose person is known. What a person has approved counts before what is said."""
    proven = _approvers(connection, client, {each.approval for each in new if each.approval is not None})
    ids = {each.user_id for each in new if each.user_id is not None}
    by_id = {row.id: row for row in connection.execute(select(users.c.id, users.c.name).where(users.c.id.in_(ids)))}
    accounts = {(each.issuer, each.subject) for each in new if each.issuer and each.subject}
    is_account = tuple_(users.c.oidc_issuer, users.c.oidc_subject).in_(accounts)
    linked = {(row.oidc_issuer, row.oidc_subject): row for row in connection.execute(select(users).where(is_account))}
    found: dict[Key, _Person] = {}
    for each in new:
        row = by_id.get(each.user_id) or linked.get((each.issuer, each.subject))
        person = proven.get(each.approval or "")
        if person is not None:
            found[each.key] = person
        elif each.kind is Kind.REMEMBERED or (row is None and each.user_id is not None):
            found[each.key] = NOBODY
        elif row is not None:
            found[each.key] = _Person(row.id, row.name)
    return found


def _approvers(connection: Connection, client: str, ids: Collection[str]) -> dict[str, _Person]:
    """Returns who has approved each of these approvals, if it is one of this client and the host has got the identity.

    An approval is deleted after some days. What the host remembers of it is known for longer.
    """
    is_own = and_(
        host_logins.c.client_id == client, host_logins.c.approval.in_(ids), host_logins.c.user_id == users.c.id
    )
    remembered = select(host_logins, users.c.name).where(is_own, host_logins.c.kind == Kind.REMEMBERED)
    found = {
        row.approval: _Person(row.user_id, row.name, row.approval, row.granted_at, row.approved_with, row.fingerprint)
        for row in connection.execute(remembered)
    }
    is_given = and_(approvals.c.client_id == client, approvals.c.id.in_(ids), approvals.c.verified_at.is_not(None))
    query = select(approvals, users.c.name).outerjoin(users, users.c.id == approvals.c.approver_id).where(is_given)
    for row in connection.execute(query):
        found[row.id] = NOBODY if row.name is None else _Person(
            row.approver_id, row.name, row.id, row.approved_at, row.session_key, row.key_fingerprint
        )  # fmt: skip
    return found


def _batches(rows: list[Row[Any]]) -> Iterable[list[Row[Any]]]:
    for begin in range(0, len(rows), _BATCH):
        yield rows[begin : begin + _BATCH]
