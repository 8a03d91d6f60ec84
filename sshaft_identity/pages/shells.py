"""Writes text for the shells in which people paste commands: POSIX shells, PowerShell and cmd.exe."""

import re
import shlex
from enum import StrEnum

_POWERSHELL_QUOTES = re.compile("(['\u2018\u2019\u201a\u201b])")
"""PowerShell ends a text in single quotes at each of these characters. Two of them stand for one."""
_CMD_SPECIAL = re.compile(r"([&|<>()^])")
_CMD_UNSAFE = frozenset('%!"')
"""No escape is safe at every prompt of cmd.exe for the characters that begin a variable or a quoted text."""


class Shell(StrEnum):
    POSIX = "Linux, macOS"
    POWERSHELL = "PowerShell"
    CMD = "cmd.exe"


def quoted(text: str, shell: Shell) -> str:
    """Returns the text as the shell reads it back, for `echo` in cmd.exe and as one word elsewhere.

    Raises `ValueError` for a text that the shell cannot take as it is: a control character, or for cmd.exe one of %!".
    """
    if not text.isprintable():
        raise ValueError("no shell takes control characters in a pasted line")
    match shell:
        case Shell.POSIX:
            return f"'{text}'" if "'" not in text else shlex.quote(text)
        case Shell.POWERSHELL:
            return "'" + _POWERSHELL_QUOTES.sub(r"\1\1", text) + "'"
        case Shell.CMD:
            if _CMD_UNSAFE & set(text):
                raise ValueError('cmd.exe does not take %, ! or "')
            return _CMD_SPECIAL.sub(r"^\1", text)


def sign_command(text: str, namespace: str, shell: Shell) -> str:
    """Returns the command that signs the line `text` with the key of the person (`ssh-keygen -Y sign`)."""
    sign = f"ssh-keygen -Y sign -n {namespace} -f"
    line = quoted(text, shell)
    match shell:
        case Shell.POSIX:
            return f"echo {line} | {sign} ~/.ssh/id_ed25519"
        case Shell.POWERSHELL:
            return f'{line} | {sign} "$HOME\\.ssh\\id_ed25519"'
        case Shell.CMD:
            return f'echo {line}| {sign} "%USERPROFILE%\\.ssh\\id_ed25519"'
