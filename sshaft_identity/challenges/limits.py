"""Limits wrong codes per user, client and source, across processes.

A new code or a new challenge resets nothing (NIST SP 800-63B-4 §3.2.2).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, bindparam, case, delete, literal, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from sshaft.addresses import source_of
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import failures

WINDOW = timedelta(hours=1)


class Scope(StrEnum):
    USER = "user"
    CLIENT = "client"
    SOURCE = "source"
    ENROL_SOURCE = "enrol-source"
    ENROL_KEY = "enrol-key"
    ENROL_ALL = "enrol-all"


_OWN = (Scope.USER, Scope.ENROL_SOURCE, Scope.ENROL_KEY)
"""The subjects of one person: a user, or the address and the key of somebody without a name."""


class Limits(BaseModel):
    """The most wrong codes in a window, which begins with the first one. Then no code is checked until it ends."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user: int = Field(default=10, ge=1, le=100, description="NIST SP 800-63B-4 §3.2.2: 100 at most")
    source: int = Field(default=30, ge=1, description="the address that ssh came from")
    client: int = Field(default=1000, ge=1, description="the client whose challenges were tried")
    enrol_source: int = Field(default=3, ge=1, description="enrolment codes from one address in 15 minutes")
    enrol_key: int = Field(default=3, ge=1, description="enrolment codes with one key in 15 minutes")
    enrol_all: int = Field(default=60, ge=1, description="enrolment codes from everybody in 15 minutes")

    def of(self, scope: Scope) -> int:
        limit: int = getattr(self, scope.name.lower())
        return limit


@dataclass(frozen=True, slots=True)
class Subject:
    """Names whose failures are counted. Long names are cut: names with the same beginning then share one count."""

    scope: Scope
    name: str

    @property
    def key(self) -> dict[str, str]:
        return {"scope": self.scope, "subject": self.name[:128]}


def subjects(user: str | None = None, source: str | None = None, clients: Iterable[str | None] = ()) -> list[Subject]:
    """Returns the subjects in the order in which every transaction locks them: that prevents deadlocks."""
    named = {
        (Scope.USER, user),
        (Scope.SOURCE, source and source_of(source)),
        *((Scope.CLIENT, client) for client in clients),
    }
    return [Subject(scope, name) for scope, name in sorted((scope, name) for scope, name in named if name)]


def locked_until(connection: Connection, counted: Iterable[Subject], limits: Limits, now: datetime) -> datetime | None:
    """Returns when all subjects may try again; None: now. Locks their rows until the transaction ends.

    The failures of other people do not stop somebody without failures: the limit of a subject that many people share
    holds only for people whose own subject (`_OWN`) has failed too. Somebody whose address is not known has no own one.
    """
    counted = list(counted)
    if not counted:
        return None
    values: dict[str, object] = {"now": now}
    for number, subject in enumerate(counted):
        values |= {f"scope{number}": subject.scope, f"subject{number}": subject.key["subject"]}
    rows = _lock_failures(len(counted)).all(connection, values)
    has_own = any(subject.scope in (Scope.USER, Scope.ENROL_SOURCE) for subject in counted)
    if has_own and not any(row.scope in _OWN for row in rows):
        return None
    return max((row.ends_at for row in rows if row.times >= limits.of(Scope(row.scope))), default=None)


@cache
def _lock_failures(count: int) -> Prepared:
    is_counted = [
        (failures.c.scope == bindparam(f"scope{number}")) & (failures.c.subject == bindparam(f"subject{number}"))
        for number in range(count)
    ]
    query = select(failures).where(or_(*is_counted), failures.c.ends_at > bindparam("now"))
    return Prepared(query.order_by(failures.c.scope, failures.c.subject).with_for_update())


_is_live = (failures.c.scope == Scope.USER) & (failures.c.ends_at > bindparam("now"))
is_locked_user = _is_live & (failures.c.times >= bindparam("most"))
"""The users whom wrong codes have locked out. `now` and `most`, the limit of a user, are its parameters."""
_locked = select(failures).where(is_locked_user)
_LOCKED = Prepared(_locked)
_LOCKED_USER = Prepared(_locked.where(failures.c.subject == bindparam("user")))


def locked_users(connection: Connection, limits: Limits, now: datetime) -> dict[str, datetime]:
    """Returns each user whom wrong codes have locked out, and until when."""
    return {row.subject: row.ends_at for row in _LOCKED.all(connection, {"now": now, "most": limits.user})}


def locked_among(connection: Connection, users: Collection[str], limits: Limits, now: datetime) -> dict[str, datetime]:
    """Returns each of these users whom wrong codes have locked out, and until when."""
    query = _locked.where(failures.c.subject.in_(users))
    return {row.subject: row.ends_at for row in connection.execute(query, {"now": now, "most": limits.user})}


def user_locked_until(connection: Connection, user: str, limits: Limits, now: datetime) -> datetime | None:
    """Returns until when wrong codes have locked the user out; None: they have not."""
    row = _LOCKED_USER.first(
        connection, {"now": now, "most": limits.user, "user": Subject(Scope.USER, user).key["subject"]}
    )
    return None if row is None else row.ends_at


@dataclass(frozen=True, slots=True)
class Count:
    """The failures of a subject in the window that ends at `ends_at`."""

    subject: Subject
    times: int
    ends_at: datetime


def count(connection: Connection, counted: Iterable[Subject], now: datetime, window: timedelta = WINDOW) -> list[Count]:
    """Counts one more failure of each subject, and returns the new counts. A window that is over begins again."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    ends = literal(now + window, failures.c.ends_at.type)  # inside CASE, SQLAlchemy cannot infer the type
    counts = []
    for subject in counted:
        is_over = failures.c.ends_at <= now
        new = insert(failures).values(**subject.key, times=1, ends_at=ends)
        written = new.on_conflict_do_update(
            index_elements=[failures.c.scope, failures.c.subject],
            set_={
                "times": case((is_over, 1), else_=failures.c.times + 1),
                "ends_at": case((is_over, new.excluded.ends_at), else_=failures.c.ends_at),
            },
        )
        row = connection.execute(written.returning(failures.c.times, failures.c.ends_at)).one()
        counts.append(Count(subject, row.times, row.ends_at))
    return counts


def forget(connection: Connection, scope: Scope, name: str) -> bool:
    """Deletes the count of a subject. Returns whether there was one."""
    counted = failures.c.scope == scope, failures.c.subject == Subject(scope, name).key["subject"]
    return connection.execute(delete(failures).where(*counted)).rowcount > 0
