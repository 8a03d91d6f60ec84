"""Limits how many approvals one host's client may open, for a person from one source, for a source, and in all.

Each count belongs to one client. So a hostile host, or a stranger at one host, keeps nobody out at another host. A
stranger who knows a name has a source of their own, and so does not keep the owner of the name out.
"""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, case, func, select

from sshaft.addresses import source_of
from sshaft_identity.approvals.approval import Asked, State
from sshaft_identity.common.times import latest_begin
from sshaft_identity.database.tables import approvals

WINDOW = timedelta(minutes=5)
_FOR_NEW_SOURCES = 10
"""So many times the limit of the host is open to sources that have no other unfinished approval there. So a few busy
sources do not keep everybody else out.
"""


class ApprovalLimits(BaseModel):
    """The most approvals in five minutes. An approval whose login has passed does not count."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    person: int = Field(default=10, ge=1, description="for one user from one address, by one host's client")
    source: int = Field(default=100, ge=1, description="from one address, by one host's client")
    host: int = Field(default=1000, ge=1, description="by one host's client; ten times that for new addresses")


def retry_at(
    connection: Connection, client: str, asked: Asked, limits: ApprovalLimits, now: datetime
) -> datetime | None:
    """Returns when the client may open this approval; None: now."""
    columns = approvals.c
    counts = (
        columns.client_id == client,
        columns.created_at > now - WINDOW,
        columns.created_at <= latest_begin(now),  # a later one was opened before the clock was set back
        columns.state.not_in((State.VERIFIED, State.PASSED)),
    )
    is_of_source = columns.source == source_of(asked.client_ip or "")
    is_of_person = is_of_source & (columns.user_name == asked.user)
    times = (columns.created_at, case((is_of_source, columns.created_at)), case((is_of_person, columns.created_at)))
    row = connection.execute(
        select(*(each for time in times for each in (func.count(time), func.min(time)))).where(*counts)
    ).one()
    of_host = limits.host if row[2] else limits.host * _FOR_NEW_SOURCES
    full = [
        oldest
        for count, oldest, most in zip(row[::2], row[1::2], (of_host, limits.source, limits.person), strict=True)
        if count >= most
    ]
    return max((oldest + WINDOW for oldest in full), default=None)
