"""Reads times and durations from the command line."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from sshaft_identity.common.times import duration


class Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = value if isinstance(value, timedelta) else duration(str(value))
        if found is None:
            self.fail("must be a number with s, m, h or d, as in 90s, 24h or 7d", param, ctx)
        return found


class Moment(click.ParamType[datetime]):
    """Reads an ISO 8601 time (UTC if it names no zone), a date, or a duration before now."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        ago = duration(str(value))
        if ago is not None:
            return datetime.now(UTC) - ago
        try:
            time = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("must be a time as in 2026-11-22T12:00:00Z, a date, or a duration as in 24h or 7d", param, ctx)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
