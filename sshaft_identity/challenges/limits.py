"""How often somebody may be wrong: counted in the database, so that it holds across processes and challenges. A new
code or a new challenge resets nothing (NIST SP 800-63B-4 §3.2.2).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, bindparam, case, delete, literal, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from sshaft_identity.common.addresses import source_of
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


class Limits(BaseModel):
    """Wrong codes in `WINDOW`, from the first one on. Afterwards every code is refused unseen until the window ends."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user: int = Field(default=10, ge=1, le=100, description="NIST SP 800-63B-4 §3.2.2: 100 at most")
    source: int = Field(default=30, ge=1, description="the address that ssh came from")
    client: int = Field(default=1000, ge=1, description="the client whose challenges were tried")
    enrol_source: int = Field(default=3, ge=1, description="enrolment codes from one address in 15 minutes")
    enrol_key: int = Field(default=3, ge=1, description="enrolment codes with one key in 15 minutes")
    enrol_all: int = Field(default=60, ge=1, description="enrolment codes from everybody in 15 minutes")

    def most(self, scope: Scope) -> int:
        most: int = getattr(self, scope.name.lower())
        return most


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose failures are counted. What is too long is cut: it can only share its count with its like."""

    scope: Scope
    name: str

    @property
    def key(self) -> dict[str, str]:
        return {"scope": self.scope, "subject": self.name[:128]}


def subjects(user: str | None = None, source: str | None = None, clients: Iterable[str | None] = ()) -> list[Subject]:
    """In one order, so that two transactions never wait for each other's rows crosswise."""
    named = {
        (Scope.USER, user),
        (Scope.SOURCE, source and source_of(source)),
        *((Scope.CLIENT, each) for each in clients),
    }
    return [Subject(scope, name) for scope, name in sorted((scope, name) for scope, name in named if name)]


@cache
def _lately_wrong(count: int) -> Prepared:
    is_one = [
        (failures.c.scope == bindparam(f"scope{number}")) & (failures.c.subject == bindparam(f"subject{number}"))
        for number in range(count)
    ]
    query = select(failures).where(or_(*is_one), failures.c.ends_at > bindparam("now"))
    return Prepared(query.order_by(failures.c.scope, failures.c.subject).with_for_update())


def locked_until(connection: Connection, those: Iterable[Subject], limits: Limits, now: datetime) -> datetime | None:
    """When the last of them may try again; None: now. Holds their rows until the transaction ends."""
    those = list(those)
    if not those:
        return None
    values: dict[str, object] = {"now": now}
    for number, each in enumerate(those):
        values |= {f"scope{number}": each.scope, f"subject{number}": each.key["subject"]}
    rows = _lately_wrong(len(those)).all(connection, values)
    return max((row.ends_at for row in rows if row.times >= limits.most(Scope(row.scope))), default=None)


def count(connection: Connection, those: Iterable[Subject], now: datetime, window: timedelta = WINDOW) -> None:
    """One failure more for each."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    ends = literal(now + window, failures.c.ends_at.type)  # within CASE nothing else says of what type it is
    for subject in those:
        is_over = failures.c.ends_at <= now
        new = insert(failures).values(**subject.key, times=1, ends_at=ends)
        connection.execute(
            new.on_conflict_do_update(
                index_elements=[failures.c.scope, failures.c.subject],
                set_={
                    "times": case((is_over, 1), else_=failures.c.times + 1),
                    "ends_at": case((is_over, new.excluded.ends_at), else_=failures.c.ends_at),
                },
            )
        )


def forget(connection: Connection, scope: Scope, name: str) -> bool:
    """Whether there was anything to forget: for the operator who helps somebody."""
    those = failures.c.scope == scope, failures.c.subject == Subject(scope, name).key["subject"]
    return connection.execute(delete(failures).where(*those)).rowcount > 0
