"""Formats times, key types and sources of keys for the pages."""

from datetime import UTC, datetime

SOURCES = {
    "operator": "by your administrator",
    "import": "by your administrator, in an import",
    "ssh": "over ssh",
    "signature": "by a signature",
}


def ago(then: datetime, now: datetime) -> str:
    """Returns a text such as `5 minutes ago`: one number, rounded down."""
    seconds = int((now - then).total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def moment(time: datetime) -> str:
    """Returns a text such as `22 Nov 2026, 12:04 UTC`, in every locale."""
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[time.month - 1]
    time = time.astimezone(UTC)
    return f"{time.day} {month} {time.year}, {time:%H:%M} UTC"


def key_kind(key_type: str) -> str:
    """Returns a name such as `Ed25519` or `ECDSA security key` for the key type of OpenSSH."""
    kind = key_type.removeprefix("sk-").partition("@")[0]
    name = {"ssh-ed25519": "Ed25519", "ssh-rsa": "RSA"}.get(kind, "ECDSA" if kind.startswith("ecdsa") else kind)
    return f"{name} security key" if key_type.startswith("sk-") else name


def source(how: str) -> str:
    return SOURCES.get(how, how)


def clock(seconds: int) -> str:
    """Returns minutes and seconds such as `4:59`."""
    return f"{seconds // 60}:{seconds % 60:02}"
