"""Puts the lines of pam_sshaft into the text of a PAM service file, between two marks, and takes them out again.

The other bytes of the file stay as they are, whatever their encoding and their line ends.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sshaft.errors import ConfigurationError

_BEGIN = b"# sshaft: begin. `sshaft host disable` removes these lines.\n"
_END = b"# sshaft: end\n"
_BLOCK = re.compile(rb"^# sshaft: begin[^\n]*\n.*?^# sshaft: end[^\n]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_RULE = re.compile(rb"[ \t]*(?:-?(?:auth|account)[ \t]|@include[ \t])", re.IGNORECASE)
_AUTH = re.compile(rb"[ \t]*(?:-?auth[ \t]|@include[ \t])", re.IGNORECASE)


@dataclass(frozen=True)
class Arguments:
    """What the module is told: the agent's socket (without it, the usual one), its time, and the emergency accounts."""

    timeout: int
    socket: str | None = None
    break_glass: tuple[str, ...] = ()


def with_module(text: bytes, arguments: Arguments, *, require_approval: bool) -> bytes:
    """Returns the file with the module before its first rule. `text` is a file without the module.

    The lines stand before every `auth` and `account` line: none of them lets anybody in before the module is asked. The
    `session` line denies nothing.
    """
    if not any(_AUTH.match(line) for _, line in _rules(text)):
        raise ConfigurationError("the PAM stack of sshd has no auth line: it lets nobody in")
    common = f" socket={arguments.socket}" if arguments.socket else ""
    emergency = f" break_glass={','.join(arguments.break_glass)}" if arguments.break_glass else ""
    lines = (
        f"auth [success=done ignore=ignore default=die] pam_sshaft.so{common} timeout={arguments.timeout}{emergency}\n"
    )
    if require_approval:
        lines += f"account [success=ok ignore=ignore default=bad] pam_sshaft.so{common}{emergency}\n"
    lines += f"session optional pam_sshaft.so{common}{emergency}\n"
    at = next(at for at, line in _rules(text) if _RULE.match(line))
    return text[:at] + _BEGIN + lines.encode() + _END + text[at:]


def without_module(text: bytes) -> bytes:
    """Returns the file without the lines of `with_module`. Raises `ConfigurationError` if others of ours remain."""
    left = _BLOCK.sub(b"", text)
    for _, line in _rules(left):
        if b"pam_sshaft.so" in line:
            shown = line.decode(errors="replace").strip()
            raise ConfigurationError(
                "/etc/pam.d/sshd has a line of ours outside of the marks `# sshaft: begin` and `# sshaft: end`, "
                f"take it out by hand: {shown}"
            )
    return left


def has_module(text: bytes) -> bool:
    return any(b"pam_sshaft.so" in line for _, line in _rules(text))


def _rules(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields each rule with its place. A line that ends in a backslash goes on; a comment does not."""
    at, first, rule = 0, 0, b""
    for line in re.findall(rb"[^\n]*\n|[^\n]+", text):
        first = at if not rule else first
        rule += line.partition(b"#")[0].rstrip(b"\r\n")
        at += len(line)
        if rule.endswith(b"\\"):
            rule = rule[:-1] + b" "
            continue
        if rule.strip():
            yield first, rule
        rule = b""
