"""How often somebody may be wrong: counted in the database, so that it holds across processes and challenges. A new
code or a new challenge resets nothing (NIST SP 800-63B-4 §3.2.2).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, and_, case, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from sshaft_identity.tables import failures

WINDOW = timedelta(hours=1)


class Scope(StrEnum):
    USER = "user"
    CLIENT = "client"
    SOURCE = "source"


class Limits(BaseModel):
    """Wrong codes in `WINDOW`, from the first one on. Afterwards every code is refused unseen until the window ends."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user: int = Field(default=10, ge=1, le=100, description="NIST SP 800-63B-4 §3.2.2: 100 at most")
    source: int = Field(default=30, ge=1, description="the address that ssh came from")
    client: int = Field(default=1000, ge=1, description="the client whose challenges were tried")

    def most(self, scope: Scope) -> int:
        return {Scope.USER: self.user, Scope.SOURCE: self.source, Scope.CLIENT: self.client}[scope]


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
    named = [(Scope.USER, user), (Scope.SOURCE, source)]
    named += [(Scope.CLIENT, each) for each in sorted({each for each in clients if each})]
    return [Subject(scope, name) for scope, name in named if name]


def locked_until(connection: Connection, those: Iterable[Subject], limits: Limits, now: datetime) -> datetime | None:
    """When the last of them may try again; None: now. Holds their rows until the transaction ends."""
    those = list(those)
    if not those:
        return None
    are = or_(*(and_(failures.c.scope == s.scope, failures.c.subject == s.key["subject"]) for s in those))
    query = select(failures).where(are, failures.c.ends_at > now).order_by(failures.c.scope, failures.c.subject)
    rows = connection.execute(query.with_for_update()).all()
    return max((row.ends_at for row in rows if row.times >= limits.most(Scope(row.scope))), default=None)


def count(connection: Connection, those: Iterable[Subject], now: datetime) -> None:
    """One failure more for each."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for subject in those:
        is_over = failures.c.ends_at <= now
        new = insert(failures).values(**subject.key, times=1, ends_at=now + WINDOW)
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
