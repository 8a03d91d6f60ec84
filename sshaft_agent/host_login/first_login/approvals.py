"""Records first logins that wait for an operator's approval (`create.approve`).

An approval is a binding: the name belongs to this identity from then on, and its next login makes the account. So
another identity of the same name gets nothing from it.
"""

import secrets
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sshaft_agent.host_login.bindings import Bindings, is_bound_to
from sshaft_agent.host_login.database import Database
from sshaft_agent.host_login.first_login.settings import CreateSettings
from sshaft_oidc.identity import Identity

_TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    reference TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    person TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    is_email_verified INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    is_told INTEGER NOT NULL,
    UNIQUE (account, issuer, subject)
) STRICT, WITHOUT ROWID"""
_MOST_OF_ONE_IDENTITY = 5
"""A person who can change the claim that names the account must not use up the places of others."""
_LONGEST = 200
_BUSY_SECONDS = 3.0
"""A method waits so long for another process that writes."""

State = Literal["waiting", "denied"]
Outcome = Literal["approved", "denied", "none", "several", "taken"]
"""What became of an operator's decision. `taken`: the name belongs to another identity."""


@dataclass(frozen=True)
class Request:
    """A first login that an operator has not approved. Times are in seconds since 1970.

    `person` is that of `Binding`. `name` and `email` are what the provider says of the person; an operator reads them.
    """

    reference: str
    account: str
    issuer: str
    subject: str
    person: str
    name: str
    email: str
    is_email_verified: bool
    first_at: int
    last_at: int
    ends_at: int
    state: State
    is_told: bool

    def facts(self) -> dict[str, Any]:
        """Returns what an operator reads."""
        names = ("account", "state", "reference", "issuer", "subject", "name", "email")
        times = {name: _iso(getattr(self, name)) for name in ("first_at", "last_at", "ends_at")}
        email = {"email_verified": bool(self.is_email_verified)}
        return {name: getattr(self, name) for name in names} | email | times


class Approvals:
    """The requests of first logins. Safe for several threads and processes."""

    def __init__(self, directory: Path, bindings: Bindings) -> None:
        """Makes the table if it is missing. Raises `ConfigurationError`."""
        self._database = Database(directory, _TABLE, _BUSY_SECONDS)
        self._bindings = bindings

    def has(self, account: str, identity: Identity) -> bool:
        """Whether an operator has approved the identity for this account, or bound it. Raises `DatabaseError`."""
        return is_bound_to(self._bindings.of(account), identity.issuer, identity.subject)

    def request(
        self, account: str, identity: Identity, person: str, settings: CreateSettings, now: int
    ) -> Request | None:
        """Records that the identity waits for this account. None: there is no room. Raises `DatabaseError`."""
        key = account, identity.issuer, identity.subject
        with self._database.transaction() as connection:
            _forget_ended(connection, now)
            connection.execute(
                "UPDATE requests SET last_at = ? WHERE account = ? AND issuer = ? AND subject = ?", (now, *key)
            )
            found = _requests(connection, "WHERE account = ? AND issuer = ? AND subject = ?", *key)
            if found or not _has_room(connection, identity, settings):
                return found[0] if found else None
            request = _new(account, identity, person, now, now + int(settings.request_lifetime.total_seconds()))
            values = tuple(vars(request).values())
            connection.execute(f"INSERT INTO requests VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608
            return request

    def of(self, account: str, identity: Identity, now: int) -> Request | None:
        """Returns the request of the identity for this account. None: there is none. Raises `DatabaseError`."""
        key = account, identity.issuer, identity.subject
        with self._database.reading() as connection:
            clause = "WHERE account = ? AND issuer = ? AND subject = ? AND ends_at > ?"
            return next(iter(_requests(connection, clause, *key, now)), None)

    def forget_ended(self, now: int) -> None:
        """Forgets the requests that have ended, and what they say of people. Raises `DatabaseError`."""
        with self._database.transaction() as connection:
            _forget_ended(connection, now)

    def all(self, now: int) -> list[Request]:
        """Returns the requests in the order of their accounts. Raises `DatabaseError`."""
        with self._database.reading() as connection:
            return _requests(connection, "WHERE ends_at > ? ORDER BY account, first_at", now)

    def untold(self, now: int) -> list[Request]:
        """Returns the requests that no operator has been told of, the oldest first. Raises `DatabaseError`."""
        with self._database.reading() as connection:
            clause = "WHERE ends_at > ? AND state = 'waiting' AND NOT is_told ORDER BY first_at"
            return _requests(connection, clause, now)

    def told(self, request: Request) -> None:
        """Records that an operator has been told of a request. Raises `DatabaseError`."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE requests SET is_told = 1 WHERE reference = ?", (request.reference,))

    def approve(self, account: str, reference: str, now: int) -> tuple[Outcome, list[Request]]:
        """Gives the account to the identity of its only request, or of the request with this reference.

        Returns the request too, or those of which the operator must choose one. Raises `DatabaseError`.
        """
        found = self._chosen(account, reference, now)
        if len(found) != 1:
            return "several" if found else "none", found
        (request,) = found
        at = datetime.fromtimestamp(now, UTC)
        if not self._bindings.bind(account, request.issuer, request.subject, at, request.person):
            return "taken", found
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM requests WHERE reference = ?", (request.reference,))
        return "approved", found

    def deny(self, account: str, reference: str, now: int) -> tuple[Outcome, list[Request]]:
        """Denies the request until its end: the identity cannot ask again before. Otherwise as `approve`."""
        found = self._chosen(account, reference, now)
        if len(found) != 1:
            return "several" if found else "none", found
        with self._database.transaction() as connection:
            connection.execute("UPDATE requests SET state = 'denied' WHERE reference = ?", (found[0].reference,))
        return "denied", found

    def _chosen(self, account: str, reference: str, now: int) -> list[Request]:
        """Returns the waiting requests of an account, or the one with this reference, also if it is denied."""
        found = [each for each in self.all(now) if each.account == account]
        return [each for each in found if (each.reference == reference if reference else each.state == "waiting")]


def _forget_ended(connection: sqlite3.Connection, now: int) -> None:
    connection.execute("DELETE FROM requests WHERE ends_at <= ?", (now,))


def _requests(connection: sqlite3.Connection, clause: str, *values: object) -> list[Request]:
    return [Request(*row) for row in connection.execute(f"SELECT * FROM requests {clause}", values)]  # noqa: S608 - ours


def _has_room(connection: sqlite3.Connection, identity: Identity, settings: CreateSettings) -> bool:
    ((everybody, own),) = connection.execute(
        "SELECT count(*), coalesce(sum(issuer = ? AND subject = ?), 0) FROM requests",
        (identity.issuer, identity.subject),
    )
    return bool(everybody < settings.requests and own < _MOST_OF_ONE_IDENTITY)


def _new(account: str, identity: Identity, person: str, now: int, ends_at: int) -> Request:
    claims = identity.claims
    return Request(
        reference=secrets.token_hex(4),
        account=account,
        issuer=identity.issuer,
        subject=identity.subject,
        person=person,
        name=_text(claims.get("name")),
        email=_text(claims.get("email")),
        is_email_verified=claims.get("email_verified") is True,
        first_at=now,
        last_at=now,
        ends_at=ends_at,
        state="waiting",
        is_told=False,
    )


def _text(value: Any) -> str:
    """Returns the text of a claim. Half of a surrogate pair cannot stand in the database."""
    return value[:_LONGEST].encode(errors="replace").decode() if isinstance(value, str) else ""


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
