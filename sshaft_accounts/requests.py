"""Turns a message of the agent into a typed request. Nothing is checked here except the form."""

import datetime as dt
import re
import unicodedata
from dataclasses import dataclass

LONGEST_GECOS = 100
MOST_SESSIONS = 100


class RequestError(ValueError):
    """The message is not a request. The text is the reason, fit for a log."""


@dataclass(frozen=True)
class Create:
    """A new account. `home` is empty, or what the agent told the person's sshd before.

    `expires` is the day of expiry as /etc/shadow has it (days since 1970), or empty: never.
    """

    user: str
    uid: int
    gecos: str = ""
    home: str = ""
    shell: str = ""
    expires: str = ""


@dataclass(frozen=True)
class Groups:
    user: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lock:
    user: str
    keep_sessions: bool = False


@dataclass(frozen=True)
class Unlock:
    """`expires` is the new day of expiry (empty: never), or None: as it was before the account was locked."""

    user: str
    expires: str | None = None


@dataclass(frozen=True)
class Remove:
    user: str


@dataclass(frozen=True)
class Adopt:
    """An account that others made becomes one of this program. Only root may ask for it."""

    user: str


@dataclass(frozen=True)
class Leader:
    """The process of sshd that serves a connection. `began` is in milliseconds since the start of the machine."""

    pid: int
    began: int


@dataclass(frozen=True)
class EndSessions:
    """Single ssh sessions of an account end, also of one that this program did not make."""

    user: str
    leaders: tuple[Leader, ...]


Request = Create | Groups | Lock | Unlock | Remove | Adopt | EndSessions
POSSIBLE = {
    "create": {"gecos", "home", "shell", "expires"},
    "groups": {"add", "remove"},
    "lock": {"sessions"},
    "unlock": {"expires"},
    "remove": set[str](),
    "adopt": set[str](),
    "end_sessions": {"sessions"},
}


def parse(kind: str, fields: dict[str, str]) -> Request:
    """Returns the request. Raises `RequestError` for an unknown kind and for a missing or unknown field."""
    if kind not in POSSIBLE:
        raise RequestError("unknown kind of request")
    needed = {"user", "uid"} if kind == "create" else {"user"}
    if not needed <= set(fields) <= needed | POSSIBLE[kind]:
        raise RequestError("missing or unknown field")
    return _typed(kind, fields)


def _typed(kind: str, fields: dict[str, str]) -> Request:
    user = fields["user"]
    match kind:
        case "create":
            gecos, expires = clean_gecos(fields.get("gecos", "")), _day(fields.get("expires", ""))
            return Create(user, _number(fields["uid"]), gecos, fields.get("home", ""), fields.get("shell", ""), expires)
        case "groups":
            return Groups(user, _words(fields.get("add", "")), _words(fields.get("remove", "")))
        case "lock":
            return Lock(user, _keep(fields.get("sessions", "end")))
        case "unlock":
            return Unlock(user, _new_expiry(fields.get("expires", "")))
        case "end_sessions":
            return EndSessions(user, _leaders(fields.get("sessions", "")))
    return Remove(user) if kind == "remove" else Adopt(user)


def clean_gecos(text: str) -> str:
    """Returns the letters and digits of a person's name, with blanks and the signs that names have.

    In /etc/passwd, `:` and a line break end the field, and `,` and `=` divide it. finger(1) replaces `&`.
    """
    kept = "".join(c if c.isalnum() or c in ".-'" else " " for c in unicodedata.normalize("NFC", text))
    return " ".join(kept.split())[:LONGEST_GECOS].strip()


def _number(text: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,9}", text):
        raise RequestError("uid is not a decimal number")
    return int(text)


def _leaders(text: str) -> tuple[Leader, ...]:
    """Reads `PID:BEGAN,PID:BEGAN`, see `Leader`."""
    words = text.split(",")
    if len(words) > MOST_SESSIONS or not all(re.fullmatch(r"[1-9][0-9]{0,9}:[0-9]{1,18}", each) for each in words):
        raise RequestError("sessions: not a list of processes and their starts")
    return tuple(Leader(*map(int, each.split(":"))) for each in words)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _keep(text: str) -> bool:
    if text not in ("end", "keep"):
        raise RequestError("sessions: neither end nor keep")
    return text == "keep"


def _new_expiry(text: str) -> str | None:
    if text == "never":
        return ""
    return _day(text) or None


def _day(text: str) -> str:
    """Returns the days from 1970 to a date: the programs of shadow-utils would read a date in the local time zone."""
    if not text:
        return ""
    try:
        # fromisoformat() takes other forms of a date too
        date = dt.date.fromisoformat(text if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else "")
    except ValueError:
        raise RequestError("expires: not a date such as 2030-12-31") from None
    days = (date - dt.date(1970, 1, 1)).days
    if days < 1:  # shadow(5): 0 may mean never
        raise RequestError("expires: before 1970-01-02")
    return str(days)
