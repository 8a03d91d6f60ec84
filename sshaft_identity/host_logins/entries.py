"""Defines what a host reports, and what the service knows of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

SILENT = timedelta(minutes=3)
"""A host reports every 30 seconds. After this time without a report, nobody knows what is still true there."""


class Kind(StrEnum):
    SESSION = "session"
    REMEMBERED = "remembered"


@dataclass(frozen=True, slots=True)
class Reported:
    """One session or remembered approval, as a host reports it. `entry` is the id that the host gave it.

    The person is the one who approved `approval`, or the user `user_id` of this service, or the account of the
    organisation's provider (`issuer`, `subject`). `source` is an address or a network.
    """

    kind: Kind
    entry: str
    account: str
    service: str
    source: str | None = None
    fingerprint: str | None = None
    approval: str | None = None
    user_id: str | None = None
    issuer: str | None = None
    subject: str | None = None
    began_at: datetime | None = None
    until: datetime | None = None
    used_at: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.entry


@dataclass(frozen=True, slots=True)
class HostLogin:
    """A session or a remembered approval of a person at a host.

    `client`, `account`, `service` and `source` are foreign text. `is_proven`: the person has approved it here. Else
    only the client says that it is the person's. `is_ending`: the host is told to end it, or will be.
    """

    id: str
    kind: Kind
    client: str
    host: str
    account: str
    service: str
    source: str | None
    fingerprint: str | None
    is_proven: bool
    began_at: datetime
    until: datetime | None
    used_at: datetime | None
    is_ending: bool
    reported_at: datetime

    def is_silent(self, now: datetime) -> bool:
        """Whether the host has not reported for a while."""
        return self.reported_at + SILENT <= now


def host_login(row: Any) -> HostLogin:
    return HostLogin(
        row.id, Kind(row.kind), row.client_id, row.host, row.account, row.service, row.source, row.fingerprint,
        row.approval is not None, row.began_at, row.until, row.used_at, bool(row.is_over), row.reported_at,
    )  # fmt: skip
