"""Writes authorized_keys lines (sshd(8), AUTHORIZED_KEYS FILE FORMAT). No other module does."""

import re

from sshaft.public_key import PublicKey

_SAFE_WORD = re.compile(r"[A-Za-z0-9._@+/:-]+")
"""A word of the command. No character is syntax to sshd's option parser or to the login account's shell."""


def line(key: PublicKey, command: tuple[str, ...], *, verify_required: bool = False) -> str:
    """Returns `restrict,pty,command="..."[,verify-required] TYPE BASE64`, without a line end.

    `command` is the absolute path of a program, and its arguments. Raises `ValueError` for a word that a shell or sshd
    could read as syntax, and for `verify_required` on another key than a security key. sshd would let such a key pass
    unverified.
    """
    if not command or not command[0].startswith("/") or not all(_SAFE_WORD.fullmatch(word) for word in command):
        raise ValueError("a word of the forced command is not plain")
    if verify_required and not key.is_security_key:
        raise ValueError("verify-required means nothing to sshd for a key that is no security key")
    # Some clients insist on a terminal. There is no expiry-time: versions of sshd read it in different ways (with a Z
    # only from 9.1, without it by their local time). The ticket ends by itself.
    options = ["restrict", "pty", f'command="{" ".join(command)}"']
    if verify_required:
        options.append("verify-required")
    return f"{','.join(options)} {key}"


def is_safe_word(word: str) -> bool:
    """Whether `word` may stand in a forced command."""
    return _SAFE_WORD.fullmatch(word) is not None
