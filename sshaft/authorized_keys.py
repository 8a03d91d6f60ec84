"""Writes authorized_keys lines (sshd(8), AUTHORIZED_KEYS FILE FORMAT). No other module does."""

import re
from datetime import UTC, datetime

from sshaft.public_key import PublicKey

_SAFE_WORD = re.compile(r"[A-Za-z0-9._@+/:-]+")
"""A word of the command. No character is syntax to sshd's option parser or to the login account's shell."""


def line(
    key: PublicKey, command: tuple[str, ...], *, expires_at: datetime | None = None, verify_required: bool = False
) -> str:
    """Returns `restrict,command="..."[,expiry-time="..."][,verify-required] TYPE BASE64`, without a line end.

    `command` is the absolute path of a program, and its arguments. Raises `ValueError` for a word that a shell or sshd
    could read as syntax, and for `verify_required` on another key than a security key. sshd would let such a key pass
    unverified.
    """
    if not command or not command[0].startswith("/") or not all(_SAFE_WORD.fullmatch(word) for word in command):
        raise ValueError("a word of the forced command is not plain")
    if verify_required and not key.is_security_key:
        raise ValueError("verify-required means nothing to sshd for a key that is no security key")
    options = ["restrict", f'command="{" ".join(command)}"']
    if expires_at is not None:
        options.append(f'expiry-time="{_expiry_time(expires_at)}"')
    if verify_required:
        options.append("verify-required")
    return f"{','.join(options)} {key}"


def _expiry_time(expires_at: datetime) -> str:
    try:
        end = expires_at.astimezone(UTC)
    except OverflowError:  # the year 0 or 10000 in UTC
        raise ValueError("no such time in UTC") from None
    # Without the Z sshd would read its own local time. glibc's %Y leaves out leading zeros.
    return f"{end.year:04}{end:%m%d%H%M%SZ}"


def is_safe_word(word: str) -> bool:
    """Whether `word` may stand in a forced command."""
    return _SAFE_WORD.fullmatch(word) is not None
