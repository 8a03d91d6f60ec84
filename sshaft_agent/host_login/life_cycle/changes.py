"""Decides what becomes of an account: functions from a record to a record, without clock and database."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from sshaft_agent.host_login.life_cycle.records import API, OPERATOR, RECHECK, Record

NEVER = "never"
END, KEEP = "end", "keep"
_DAY = 86400
_STRENGTH = (RECHECK, API, OPERATOR)
"""The later, the stronger: only an operator opens what an operator has closed, and a login only what a check has."""


def refusal(record: Record, now: float, lock_after: timedelta | None) -> str | None:
    """Returns why nobody may log in to the account. None: nothing is against it."""
    if record.state == "suspended":
        return f"the account is suspended by {record.suspended_by}: {record.reason or 'no reason was given'}"
    if record.state == "locked":
        return f"the account is locked: {record.reason}"
    if record.state == "new":  # perhaps it could not be made, and the person tries again much later
        return None
    return over(record, now, lock_after)


def over(record: Record, now: float, lock_after: timedelta | None) -> str | None:
    """Returns why the time of an account is over, or None."""
    if has_expired(record, now):
        return "the account has expired"
    used_at = max(record.since, record.last_login_at or 0)
    if lock_after is not None and record.is_managed and now >= used_at + lock_after.total_seconds():
        return f"nobody has logged in for {_words(lock_after)}"
    return None


def has_expired(record: Record, now: float) -> bool:
    return record.expires_at is not None and now >= record.expires_at


def made(record: Record, expires_at: int | None, now: int) -> Record:
    """Returns the record of an account that is about to be made. A suspension stays."""
    state = "new" if record.state == "active" else record.state
    return replace(record, state=state, since=now, expires_at=expires_at, last_login_at=None, is_managed=True)


def logged_in(record: Record, now: int) -> Record:
    """Returns the record of an account that somebody has logged in to."""
    return replace(record, state="active" if record.state == "new" else record.state, last_login_at=now)


def suspended(record: Record, reason: str, by: str, now: int) -> Record:
    """Returns the record of an account that `by` suspends. A suspension stays that of the stronger one."""
    if record.state == "suspended" and _STRENGTH.index(record.suspended_by) > _STRENGTH.index(by):
        return record
    return replace(record, state="suspended", suspended_by=by, reason=reason, since=now, to_do=to_do("lock", END))


def resumed(record: Record, expires: str, by: str, now: int) -> Record:
    """Returns the record of an account that `by` opens again.

    Only an operator opens what somebody else has closed.
    """
    if by != OPERATOR and (record.state, record.suspended_by) != ("suspended", by):
        return record
    expires_at = record.expires_at if not expires else None if expires == NEVER else midnight(expires)
    return replace(
        record, state="active", suspended_by="", reason="", since=now, expires_at=expires_at,
        to_do=to_do("unlock", expires),
    )  # fmt: skip


def locked(record: Record, now: int, lock_after: timedelta | None) -> Record:
    """Returns the record of an account whose time is over. Sessions end only if the account has expired."""
    reason = over(record, now, lock_after)
    if record.state != "active" or reason is None:
        return record
    sessions = END if has_expired(record, now) else KEEP
    return replace(record, state="locked", reason=reason, since=now, to_do=to_do("lock", sessions))


def adopted(record: Record, now: int) -> Record:
    """Returns the record of an account that `sshaft-accounts` may change from now on."""
    if record.state in ("new", "active"):
        return replace(record, state="active", is_managed=True, since=now)
    return replace(record, is_managed=True, to_do=to_do("lock", END))


def to_do(kind: str, value: str) -> str:
    return f"{kind} {value}"


def is_expiry(text: str) -> bool:
    """Whether the text is a day such as `2030-01-31`, `never` or empty."""
    if text in ("", NEVER):
        return True
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def midnight(day: str) -> int:
    """Returns the first second of a day such as `2030-01-31`, in UTC. Raises `ValueError`."""
    first = date.fromisoformat(day)
    return int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())


def first_day_after(time: int) -> str:
    """Returns the first day on which the whole day is after this time, as in `2030-01-31`: useradd knows only days."""
    return datetime.fromtimestamp(-(-time // _DAY) * _DAY, UTC).date().isoformat()


def _words(period: timedelta) -> str:
    return f"{period.days} days" if period.days else f"{int(period.total_seconds() // 60)} minutes"
